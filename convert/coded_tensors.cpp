#include "convert/coded_tensors.h"

#include <cstring>
#include <optional>

#include "convert/scales.h"
#include "quant/error.h"

namespace hearth {

namespace {

int64_t ceil_div(int64_t n, int64_t d) {
  return (n + d - 1) / d;
}

bool is_type(const SourceTensor& tensor, std::string_view name) {
  return tensor.dtype->name == name;
}

int64_t integer_at(const SourceTensor& tensor, int64_t index) {  // of I32 and I64
  require_there(tensor);
  int64_t value = 0;
  if (tensor.elem_bytes() == 8) {
    std::memcpy(&value, tensor.bytes.data() + size_t(index) * 8, 8);
    return value;
  }
  int32_t narrow;
  std::memcpy(&narrow, tensor.bytes.data() + size_t(index) * 4, 4);
  return narrow;
}

const SourceTensor* find_in(const TensorsByName& tensors, std::string_view name) {
  const auto it = tensors.find(name);
  return it == tensors.end() ? nullptr : &it->second;
}

// Gathers the tensors of one weight.
class Finder {
 public:
  Finder(const TensorsByName& tensors, const HfQuantization& quantization, std::string stem, int64_t rows, int64_t cols)
      : tensors_(tensors), quantization_(quantization), stem_(std::move(stem)) {
    w_.rows = rows;
    w_.cols = cols;
  }

  void find_compressed_tensors(const SourceTensor& codes) {
    w_.codes = &codes;
    const bool bytes = is_type(codes, "I8");
    w_.layout = bytes ? CodeLayout::bytes : CodeLayout::along_rows;
    expect_method(QuantMethod::compressed_tensors, "compressed-tensors");
    w_.scales = &need("weight_scale");
    require_float(*w_.scales);
    check_weight_shape();
    const IntegerScheme scheme = matching_scheme();
    if (scheme.symmetric) {
      w_.zeros = find("weight_zero_point");  // older versions wrote zeros of symmetric weights too
    } else {
      w_.zeros = &need("weight_zero_point");
    }
    if (w_.zeros) check_compressed_zeros(bytes);
    const SourceTensor* index = scheme.act_order ? &need("weight_g_idx") : find("weight_g_idx");
    if (index) set_group_index(*index, true);
  }

  void find_gptq(const SourceTensor& codes) {
    w_.codes = &codes;
    expect_method(QuantMethod::gptq, "gptq or awq (older programs wrote quantize_config.json: it belongs there)");
    w_.layout = CodeLayout::along_cols;
    w_.scales_by_group = true;
    w_.scales = &need("scales");
    require_float(*w_.scales);
    const IntegerScheme scheme = matching_scheme();
    w_.zeros = &need("qzeros");
    w_.zero_layout = quantization_.zeros_less_one ? ZeroLayout::less_one : ZeroLayout::plain;
    const int per_word = 32 / w_.bits;
    require(w_.rows % per_word == 0, ErrorKind::model, "{}: expected rows in multiples of {}, found {}",
            w_.zeros->place(), per_word, w_.rows);
    expect(*w_.zeros, "I32", Shape(w_.n_groups, w_.rows / per_word));
    const SourceTensor* index = scheme.act_order ? &need("g_idx") : find("g_idx");
    if (index) set_group_index(*index, false);
  }

  void find_awq(const SourceTensor& codes) {
    w_.codes = &codes;
    w_.layout = CodeLayout::across_rows;
    w_.scales_by_group = true;
    w_.scales = &need("scales");
    require_float(*w_.scales);
    const IntegerScheme scheme = matching_scheme();
    w_.zeros = scheme.symmetric ? find("qzeros") : &need("qzeros");
    if (!w_.zeros) return;
    w_.zero_layout = ZeroLayout::across_groups;
    expect(*w_.zeros, "I32", Shape(w_.n_groups, w_.rows / 8));
  }

  CodedTensors finish() {
    if (w_.zeros) require_there(*w_.zeros);
    if (w_.symmetric()) {
      w_.zeros = nullptr;
      w_.zero_layout = ZeroLayout::none;
    }
    return {std::make_unique<CodedWeight>(w_), std::move(names_)};
  }

  void use(const char* part) { names_.push_back(stem_ + part); }

 private:
  void expect_method(QuantMethod method, const char* name) const {
    require(
        quantization_.method == method, ErrorKind::model,
        "{}: holds integers, but config.json does not say how they are packed: expected a quantization_config of {}",
        w_.codes->place(), name);
  }
  const SourceTensor* find(const char* part) {
    const SourceTensor* tensor = find_in(tensors_, stem_ + part);
    if (tensor) use(part);
    return tensor;
  }
  const SourceTensor& need(const char* part) {
    const SourceTensor* tensor = find(part);
    require(tensor, ErrorKind::model, "{}: its {}{} is missing", w_.codes->place(), stem_, part);
    return *tensor;
  }

  static void require_float(const SourceTensor& scales) {
    require(scales.dtype->format, ErrorKind::model, "{}: expected BF16, F16 or F32, found {}", scales.place(),
            scales.dtype->name);
  }
  static void expect(const SourceTensor& tensor, const char* type, const Shape& shape) {
    require(is_type(tensor, type) && tensor.shape == shape, ErrorKind::model, "{}: expected {} {}, found {} {}",
            tensor.place(), type, shape.text(), tensor.dtype->name, tensor.shape.text());
  }

  void check_weight_shape() {
    const SourceTensor* shape = find("weight_shape");
    if (!shape) return;
    require((is_type(*shape, "I64") || is_type(*shape, "I32")) && shape->shape == Shape(2), ErrorKind::model,
            "{}: expected I64 [2], found {} {}", shape->place(), shape->dtype->name, shape->shape.text());
    const int64_t rows = integer_at(*shape, 0), cols = integer_at(*shape, 1);
    require(rows == w_.rows && cols == w_.cols, ErrorKind::model, "{}: expected [{}, {}], found [{}, {}]",
            shape->place(), w_.rows, w_.cols, rows, cols);
  }

  Shape codes_shape(int bits) const {
    switch (w_.layout) {
      case CodeLayout::bytes:
        break;
      case CodeLayout::along_rows:
        return Shape(w_.rows, ceil_div(w_.cols * bits, 32));
      case CodeLayout::along_cols:
        return Shape(w_.cols * bits / 32, w_.rows);
      case CodeLayout::across_rows:
        return Shape(w_.cols, w_.rows * bits / 32);
    }
    return Shape(w_.rows, w_.cols);
  }

  // What a scheme makes of the weight's rows. GPTQ's last group may be smaller.
  struct Groups {
    int64_t size = 0, n = 0;
  };
  std::optional<Groups> groups_of(const IntegerScheme& scheme) const {
    if (scheme.group_size <= 0 || scheme.group_size >= w_.cols) return Groups{w_.cols, 1};
    if (w_.layout != CodeLayout::along_cols && w_.cols % scheme.group_size != 0) return std::nullopt;
    return Groups{scheme.group_size, ceil_div(w_.cols, scheme.group_size)};
  }
  bool is_scale_shape(const IntegerScheme& scheme, const Groups& groups) const {
    const Shape& found = w_.scales->shape;
    if (scheme.group_size == IntegerScheme::kTensor) return value_count(found) == 1;
    if (w_.scales_by_group) return found == Shape(groups.n, w_.rows);
    return found == Shape(w_.rows, groups.n) || (groups.n == 1 && found == Shape(w_.rows));
  }

  // The scheme whose shapes the codes and the scales have; sets what it says of the weight.
  IntegerScheme matching_scheme() {
    std::string expected;
    for (const IntegerScheme& scheme : quantization_.schemes) {
      const auto groups = groups_of(scheme);
      const bool whole_words = w_.layout == CodeLayout::bytes || w_.layout == CodeLayout::along_rows ||
                               (w_.layout == CodeLayout::along_cols ? w_.cols : w_.rows) % (32 / scheme.bits) == 0;
      if (groups && whole_words && w_.codes->shape == codes_shape(scheme.bits) && is_scale_shape(scheme, *groups)) {
        const bool typed = is_type(*w_.codes, w_.layout == CodeLayout::bytes ? "I8" : "I32");
        require(typed, ErrorKind::model, "{}: expected I32, found {}", w_.codes->place(), w_.codes->dtype->name);
        w_.bits = w_.layout == CodeLayout::bytes ? 8 : scheme.bits;
        w_.group_size = groups->size;
        w_.n_groups = groups->n;
        return scheme;
      }
      expected += fmt::format("{}{}: {}", expected.empty() ? "" : "; or ", scheme.text(), wanted(scheme, groups));
    }
    fail(ErrorKind::model,
         "{}: a weight [{}, {}] that is stored as no scheme of config.json says: found {}, scales {}; expected {}",
         w_.codes->place(), w_.rows, w_.cols, w_.codes->shape.text(), w_.scales->shape.text(),
         expected.empty() ? "no integers at all" : expected);
  }
  std::string wanted(const IntegerScheme& scheme, const std::optional<Groups>& groups) const {
    if (!groups) return fmt::format("which do not divide rows of {}", w_.cols);
    const Shape scales = scheme.group_size == IntegerScheme::kTensor ? Shape(1)
                         : w_.scales_by_group                        ? Shape(groups->n, w_.rows)
                                                                     : Shape(w_.rows, groups->n);
    return fmt::format("{}, scales {}", codes_shape(scheme.bits).text(), scales.text());
  }

  // Zeros are packed where codes are, but for those of a whole weight.
  void check_compressed_zeros(bool bytes) {
    const bool packed = !bytes && is_type(*w_.zeros, "I32");
    w_.zero_layout = packed ? ZeroLayout::packed_rows : ZeroLayout::bytes;
    if (packed) return expect(*w_.zeros, "I32", Shape(ceil_div(w_.rows * w_.bits, 32), w_.n_groups));
    if (is_type(*w_.zeros, "I8") && value_count(w_.zeros->shape) == 1 && value_count(w_.scales->shape) == 1) return;
    expect(*w_.zeros, "I8", Shape(w_.rows, w_.n_groups));
  }

  // Kept only if it says other than that the groups lie side by side. compressed-tensors marks an index that is not
  // used by -1.
  void set_group_index(const SourceTensor& index, bool unused_is_minus_one) {
    expect(index, "I32", Shape(w_.cols));
    bool in_order = true;
    for (int64_t c = 0; c < w_.cols; ++c) {
      const int64_t group = integer_at(index, c);
      if (unused_is_minus_one && group == -1) return;
      require(group >= 0 && group < w_.n_groups, ErrorKind::model, "{}: expected groups 0 to {}, found {} at [{}]",
              index.place(), w_.n_groups - 1, group, c);
      in_order = in_order && group == c / w_.group_size;
    }
    if (!in_order) w_.group_index = &index;
  }

  const TensorsByName& tensors_;
  const HfQuantization& quantization_;
  const std::string stem_;  // with its final dot
  CodedWeight w_;
  std::vector<std::string> names_;
};

constexpr std::string_view kWeight = "weight";
constexpr const char* kNames[] = {"weight", "weight_packed", "qweight"};

std::string stem_of(const std::string& weight) {
  return weight.ends_with(".weight") ? weight.substr(0, weight.size() - kWeight.size()) : "";
}

}  // namespace

bool has_weight(const TensorsByName& tensors, const std::string& weight) {
  if (tensors.contains(weight)) return true;
  const std::string stem = stem_of(weight);
  if (stem.empty()) return false;
  for (const char* name : kNames) {
    if (tensors.contains(stem + name)) return true;
  }
  return false;
}

CodedTensors find_coded_weight(const TensorsByName& tensors, const HfQuantization& quantization,
                               const std::string& weight, int64_t rows, int64_t cols) {
  const std::string stem = stem_of(weight);
  if (stem.empty()) return {};
  Finder finder(tensors, quantization, stem, rows, cols);
  for (const char* name : kNames) {
    const SourceTensor* codes = find_in(tensors, stem + name);
    if (!codes) continue;
    if (std::string_view(name) == "weight" && !is_type(*codes, "I8")) return {};
    finder.use(name);
    if (std::string_view(name) != "qweight") {
      finder.find_compressed_tensors(*codes);
    } else if (quantization.method == QuantMethod::awq) {
      finder.find_awq(*codes);
    } else {
      finder.find_gptq(*codes);
    }
    return finder.finish();
  }
  return {};
}

}  // namespace hearth
