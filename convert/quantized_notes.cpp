#include "convert/quantized_notes.h"

#include <algorithm>

#include "quant/error.h"

namespace hearth {

namespace {

// "4-bit codes", "FP8"; empty: floats.
std::string codes_of(const OutputTensor& tensor) {
  const WeightSource& source = tensor.sources.front();
  if (source.coded) {
    return fmt::format("{}-bit codes{}", source.coded->bits,
                       source.coded->zero_layout == ZeroLayout::none ? "" : " with zeros");
  }
  return source.weight->dtype->fp8 ? "FP8" : "";
}

bool has_group_index(const OutputTensor& tensor) {
  return std::ranges::any_of(tensor.sources, [](auto& source) { return source.coded && source.coded->group_index; });
}

// Why no format holds the codes of a tensor.
std::string hindrance(const OutputTensor& tensor) {
  if (has_group_index(tensor)) return "the columns of a group are scattered (act-order)";
  if (tensor.transform == Transform::k_part) return "their rows run across the checkpoint's groups";
  return "no format has these codes in these groups";
}

std::string tensors_text(int64_t n) {
  return fmt::format("{} tensor{}", n, n == 1 ? "" : "s");
}

}  // namespace

std::string remark_on_codes(const OutputTensor& tensor, const Format& format) {
  const std::string codes = codes_of(tensor);
  if (codes.empty()) return "";
  if (carries(tensor, format)) return codes + " kept";
  return tensor.sources.front().coded ? codes + " decoded" : "";
}

void NotesOnCodes::add(const OutputTensor& tensor, const Format& format) {
  const std::string codes = codes_of(tensor);
  if (codes.empty() || tensor.role == Role::vector) return;
  if (carries(tensor, format)) {
    ++kept_[fmt::format("keep the checkpoint's {} ({})", codes, format.name)];
  } else if (keep_) {
    ++decoded_[fmt::format("in {} are decoded to {}: {}", codes, format.name, hindrance(tensor))];
  } else {
    n_anew_ += tensor.sources.front().coded != nullptr;
  }
}

std::vector<std::string> NotesOnCodes::notes() const {
  std::vector<std::string> notes;
  for (const auto* texts : {&kept_, &decoded_}) {
    for (const auto& [text, n] : *texts) notes.push_back(fmt::format("{} {}", tensors_text(n), text));
  }
  if (n_anew_ > 0) {
    notes.push_back(
        fmt::format("{} that the checkpoint has in integers {} encoded anew, which loses a second time; recipe keep "
                    "keeps what it has",
                    tensors_text(n_anew_), n_anew_ == 1 ? "is" : "are"));
  }
  return notes;
}

std::vector<std::string> notes_on_loss(const CarryLoss& loss) {
  if (loss.rounded == 0) return {};
  return {
      fmt::format("in {} of {} blocks that keep the checkpoint's codes F16 rounds a scale, or scale * zero: their "
                  "weights are off by {:.2g} % (RMS)",
                  loss.rounded.load(), loss.blocks.load(), 100 * loss.relative_error())};
}

}  // namespace hearth
