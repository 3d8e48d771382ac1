// Checkpoints whose weights are integers: each packed here as its format is documented, beside the same weights as
// floats.
//   GPTQ: github.com/AutoGPTQ, qweight [in * bits / 32, out], v1 stores zero - 1; AWQ: AutoAWQ's gemm, eight columns a
//   word in the order 0 2 4 6 1 3 5 7; compressed-tensors: pack-quantized and int-quantized.
#pragma once

#include <functional>
#include <optional>

#include "tests/convert/tiny_checkpoint.h"

namespace hearth::test {

struct Packing {
  enum Form { pack_quantized, int_quantized, gptq, gptq_v2, awq };
  Form form = pack_quantized;
  int bits = 4;
  bool zeros = false;
  int64_t group = 32;  // 0: the whole row
  std::string scale_type = "BF16";
  bool act_order = false;

  std::string text() const {
    constexpr const char* kNames[] = {"pack-quantized", "int-quantized", "gptq", "gptq_v2", "awq"};
    return std::string(kNames[form]) + " " + std::to_string(bits) + (zeros ? " zeros " : " ") + std::to_string(group) +
           " " + scale_type + (act_order ? " act-order" : "");
  }
  bool fits(int64_t rows, int64_t cols) const {
    return (group == 0 || cols % group == 0) &&
           (form == pack_quantized || form == int_quantized || (rows % 8 == 0 && cols % 8 == 0));
  }
};

// w = (code - zero) * scale
struct Codes {
  int64_t rows, cols, group, n_groups;
  int bits;
  std::vector<int> codes, zeros;  // [rows, cols], [rows, groups]
  std::vector<float> scales;      // [rows, groups]
  std::vector<int> group_of;      // [cols]
  std::vector<float> weights() const {
    std::vector<float> out(size_t(rows * cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const size_t g = size_t(r * n_groups + group_of[size_t(c)]);
        out[size_t(r * cols + c)] = float(codes[size_t(r * cols + c)] - zeros[g]) * scales[g];
      }
    }
    return out;
  }
};

inline float as_type(float value, const std::string& type) {
  if (type == "BF16") return bf16_to_float(float_to_bf16(value));
  if (type == "F16") return fp16_to_float(float_to_fp16(value));
  return value;
}

inline std::string bytes_as(std::span<const float> values, const std::string& type) {
  return type == "BF16" ? bf16_bytes(values) : type == "F16" ? f16_bytes(values) : f32_bytes(values);
}

// Round to nearest, from the least and the largest weight of each group.
inline Codes quantized(std::span<const float> w, int64_t rows, int64_t cols, const Packing& p, std::mt19937& random) {
  Codes q{rows, cols, p.group ? p.group : cols, 0, p.bits, {}, {}, {}, {}};
  q.n_groups = (cols + q.group - 1) / q.group;
  for (int64_t c = 0; c < cols; ++c) q.group_of.push_back(int(c / q.group));
  if (p.act_order) std::shuffle(q.group_of.begin(), q.group_of.end(), random);
  const int middle = 1 << (p.bits - 1), most = 2 * middle - 1;
  q.codes.resize(w.size());
  for (int64_t r = 0; r < rows; ++r) {
    const float* const row = w.data() + r * cols;
    std::vector<float> low(size_t(q.n_groups), 0.0f), high(size_t(q.n_groups), 0.0f);
    for (int64_t c = 0; c < cols; ++c) {
      const auto g = size_t(q.group_of[size_t(c)]);
      low[g] = std::min(low[g], row[c]);
      high[g] = std::max(high[g], row[c]);
    }
    for (size_t g = 0; g < low.size(); ++g) {
      const float range = p.zeros ? (high[g] - low[g]) / float(most) : std::max(high[g], -low[g]) / float(middle - 1);
      q.scales.push_back(as_type(range, p.scale_type));
      q.zeros.push_back(p.zeros ? std::clamp(int(std::lround(-low[g] / q.scales.back())), 0, most) : middle);
    }
    for (int64_t c = 0; c < cols; ++c) {
      const size_t g = size_t(r * q.n_groups + q.group_of[size_t(c)]);
      q.codes[size_t(r * cols + c)] = std::clamp(int(std::lround(row[c] / q.scales[g])) + q.zeros[g], 0, most);
    }
  }
  return q;
}

// 32-bit words, each of values of `bits`; the first lies lowest.
inline std::string words_of(const std::vector<int>& values, int bits) {
  std::string out;
  for (size_t i = 0; i < values.size();) {
    uint32_t word = 0;
    for (int at = 0; at < 32 && i < values.size(); at += bits) word |= uint32_t(values[i++]) << at;
    out.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return out;
}

// [rows, cols] packed along its rows or down its columns; padded with 0.
inline TinyTensor packed(const std::vector<int>& m, int64_t rows, int64_t cols, int bits, bool down) {
  const int64_t per_word = 32 / bits, lines = down ? cols : rows, length = down ? rows : cols;
  const int64_t words = (length + per_word - 1) / per_word;
  std::vector<std::string> line_words;
  for (int64_t line = 0; line < lines; ++line) {
    std::vector<int> values;
    for (int64_t i = 0; i < length; ++i) values.push_back(m[size_t(down ? i * cols + line : line * cols + i)]);
    line_words.push_back(words_of(values, bits));
  }
  TinyTensor out{"I32", down ? std::vector<int64_t>{words, cols} : std::vector<int64_t>{rows, words}, ""};
  if (!down) {
    for (const std::string& line : line_words) out.bytes += line;
    return out;
  }
  for (int64_t w = 0; w < words; ++w) {
    for (const std::string& line : line_words) out.bytes += line.substr(size_t(w) * 4, 4);
  }
  return out;
}

template <class T>
std::vector<T> transposed(const std::vector<T>& m, int64_t rows, int64_t cols) {
  std::vector<T> out;
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) out.push_back(m[size_t(r * cols + c)]);
  }
  return out;
}

// Every eight values in AWQ's order.
inline std::vector<int> in_awq_order(const std::vector<int>& values) {
  constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<int> out;
  for (size_t i = 0; i < values.size(); i += 8) {
    for (const int j : kOrder) out.push_back(values[i + size_t(j)]);
  }
  return out;
}

inline std::string signed_bytes(const std::vector<int>& values, int middle) {
  std::string out;
  for (const int value : values) out += char(value - middle);
  return out;
}

// The tensors of one weight, in the place of "X.weight"; stem is "X.".
inline void store(const Codes& q, const Packing& p, const std::string& stem,
                  std::map<std::string, TinyTensor>& tensors) {
  tensors.erase(stem + "weight");
  const int64_t rows = q.rows, cols = q.cols, groups = q.n_groups;
  const TinyTensor index = {"I32", {cols}, [&] {
                              std::string bytes;
                              for (const int g : q.group_of) bytes.append(reinterpret_cast<const char*>(&g), 4);
                              return bytes;
                            }()};
  if (p.form == Packing::pack_quantized || p.form == Packing::int_quantized) {
    tensors[stem + "weight_scale"] = {p.scale_type, {rows, groups}, bytes_as(q.scales, p.scale_type)};
    if (p.act_order) tensors[stem + "weight_g_idx"] = index;
    const int middle = 1 << (q.bits - 1);
    if (p.form == Packing::int_quantized) {
      tensors[stem + "weight"] = {"I8", {rows, cols}, signed_bytes(q.codes, middle)};
      if (p.zeros) tensors[stem + "weight_zero_point"] = {"I8", {rows, groups}, signed_bytes(q.zeros, middle)};
      return;
    }
    tensors[stem + "weight_packed"] = packed(q.codes, rows, cols, q.bits, false);
    const int64_t shape[] = {rows, cols};
    tensors[stem + "weight_shape"] = {"I64", {2}, std::string(reinterpret_cast<const char*>(shape), sizeof shape)};
    if (p.zeros) tensors[stem + "weight_zero_point"] = packed(q.zeros, rows, groups, q.bits, true);
    return;
  }
  // The others have inputs before outputs.
  tensors[stem + "scales"] = {p.scale_type, {groups, rows}, bytes_as(transposed(q.scales, rows, groups), p.scale_type)};
  std::vector<int> codes = transposed(q.codes, rows, cols), zeros = transposed(q.zeros, rows, groups);
  if (p.form == Packing::awq) {
    tensors[stem + "qweight"] = packed(in_awq_order(codes), cols, rows, 4, false);
    tensors[stem + "qzeros"] = packed(in_awq_order(zeros), groups, rows, 4, false);
    return;
  }
  tensors[stem + "qweight"] = packed(codes, cols, rows, q.bits, true);
  for (int& zero : zeros) zero = p.form == Packing::gptq ? (zero - 1) & ((1 << q.bits) - 1) : zero;
  tensors[stem + "qzeros"] = packed(zeros, groups, rows, q.bits, false);
  tensors[stem + "g_idx"] = index;
}

// quantization_config of a checkpoint with these forms, which must be of one method.
inline Json config_of(const std::vector<Packing>& packings) {
  const Packing& first = packings.front();
  const int64_t group = first.group ? first.group : -1;
  if (first.form == Packing::awq) {
    return {{"quant_method", "awq"}, {"bits", 4}, {"group_size", group}, {"zero_point", true}, {"version", "gemm"}};
  }
  if (first.form == Packing::gptq || first.form == Packing::gptq_v2) {
    return {{"quant_method", "gptq"}, {"bits", first.bits},
            {"group_size", group},    {"desc_act", first.act_order},
            {"sym", !first.zeros},    {"checkpoint_format", first.form == Packing::gptq ? "gptq" : "gptq_v2"}};
  }
  Json groups;
  for (const Packing& p : packings) {
    Json weights = {{"num_bits", p.bits}, {"type", "int"}, {"symmetric", !p.zeros}};
    weights["strategy"] = p.group ? "group" : "channel";
    if (p.group) weights["group_size"] = p.group;
    if (p.act_order) weights["actorder"] = "group";
    groups["group_" + std::to_string(groups.size())] = {{"targets", {"Linear"}}, {"weights", weights}};
  }
  const char* format = packings.size() > 1                    ? "mixed-precision"
                       : first.form == Packing::int_quantized ? "int-quantized"
                                                              : "pack-quantized";
  return {
      {"quant_method", "compressed-tensors"}, {"format", format}, {"config_groups", groups}, {"ignore", {"lm_head"}}};
}

struct QuantizedPair {
  TinyCheckpoint quantized, floats;  // the same weights; in `floats` those that were quantized are F32
  int n = 0;                         // weights that were quantized
};

// `which` says how a weight is packed, by its name without ".weight"; by default the linear layers that quantizers
// take, where they fit.
inline QuantizedPair quantize_checkpoint(const TinyCheckpoint& tiny, const std::vector<Packing>& packings,
                                         std::function<const Packing*(const std::string&)> which = {}) {
  QuantizedPair pair{tiny, tiny, 0};
  pair.quantized.config["quantization_config"] = config_of(packings);
  if (!which) {
    which = [&](const std::string& name) {
      const bool linear = name.ends_with("_proj") || name.ends_with("kv_a_proj_with_mqa");
      return linear && !name.ends_with("eh_proj") ? &packings.front() : nullptr;
    };
  }
  for (const auto& [name, tensor] : tiny.tensors) {
    if (tensor.shape.size() != 2 || !name.ends_with(".weight")) continue;
    const std::string stem = name.substr(0, name.size() - 6);
    const Packing* const packing = which(stem.substr(0, stem.size() - 1));
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
    if (!packing || !packing->fits(rows, cols)) continue;
    std::vector<float> w;
    for (size_t i = 0; i < tensor.bytes.size(); i += tensor.dtype == "F32" ? 4 : 2) {
      uint32_t bits = 0;
      std::memcpy(&bits, tensor.bytes.data() + i, tensor.dtype == "F32" ? 4 : 2);
      w.push_back(tensor.dtype == "F32"   ? float_from_bits(bits)
                  : tensor.dtype == "F16" ? fp16_to_float(uint16_t(bits))
                                          : bf16_to_float(uint16_t(bits)));
    }
    const Codes codes = test::quantized(w, rows, cols, *packing, pair.quantized.random);
    store(codes, *packing, stem, pair.quantized.tensors);
    pair.floats.tensors[name] = {"F32", {rows, cols}, f32_bytes(codes.weights())};
    ++pair.n;
  }
  return pair;
}

}  // namespace hearth::test
