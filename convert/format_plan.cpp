#include "convert/format_plan.h"

#include <algorithm>

#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {
namespace {

// "ffn_down_exps.weight" of "blk.3.ffn_down_exps.weight".
std::string name_in_layer(const OutputTensor& tensor) {
  return tensor.layer < 0 ? tensor.name : tensor.name.substr(name::in_layer(int(tensor.layer), "").size());
}

}  // namespace

void add_notes(ConvertReport& report, const std::vector<std::string>& notes) {
  report.notes.insert(report.notes.end(), notes.begin(), notes.end());
}

TensorRule tensor_rule(const std::string& text) {
  const size_t equals = text.rfind('=');
  require(equals != std::string::npos && equals > 0, ErrorKind::usage,
          "expected PATTERN=FORMAT, ffn_down_exps=q6_k for example, found {}", text);
  const Format* format = find_format(std::string_view(text).substr(equals + 1));
  if (!format || !format->encode) {
    std::vector<std::string_view> names;
    for (const Format& known : all_formats()) {
      if (known.encode) names.push_back(known.name);
    }
    fail(ErrorKind::usage, "{}: expected one of the formats {}, found {}", text, fmt::join(names, " "),
         text.substr(equals + 1));
  }
  try {
    return {text, std::regex(text.substr(0, equals)), format};
  } catch (const std::regex_error& error) {
    fail(ErrorKind::usage, "{}: expected a regular expression before the =: {}", text, error.what());
  }
}

FormatPlan::FormatPlan(const std::string& recipe, const std::vector<std::string>& rules, int64_t n_layers)
    : n_matched_(rules.size()), n_layers_(n_layers) {
  if (recipe != kKeep) recipe_ = &find_recipe(recipe);
  for (const std::string& rule : rules) rules_.push_back(tensor_rule(rule));
}

ChosenFormat FormatPlan::choose(const OutputTensor& tensor, const Format* source) {
  const Format* wanted = nullptr;
  if (tensor.role != Role::vector) {
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (!std::regex_search(tensor.name, rules_[i].pattern)) continue;
      wanted = rules_[i].format;
      ++n_matched_[i];
    }
  }
  if (const auto fitted = fitted_.find(tensor.name); !wanted && fitted != fitted_.end()) wanted = fitted->second;
  if (!recipe_ && !wanted) wanted = source;
  return wanted ? fitting_format(*wanted, tensor.shape.cols()) : choose_format(*recipe_, tensor, n_layers_);
}

bool FormatPlan::ruled(const std::string& name) const {
  return std::ranges::any_of(rules_, [&](const TensorRule& rule) { return std::regex_search(name, rule.pattern); });
}

void FormatPlan::add(const OutputTensor& tensor, const ChosenFormat& chosen, std::string note, std::string remark) {
  if (chosen.format != chosen.wanted) {
    note = fmt::format("rows of {} do not fit {} ({}): {}", tensor.shape.cols(), chosen.wanted->name,
                       chosen.wanted->block_elems, chosen.format->name);
  }
  // MTP tensors go to the appendix: llama.cpp refuses files with tensors that it does not ask for, and it asks for no
  // MTP layer.
  tensors_.push_back({tensor.name, chosen.format, tensor.shape, tensor.mtp});
  const uint64_t size = tensors_.back().bytes();
  bytes_ += size;
  weights_ += uint64_t(tensor.shape.elems());
  if (!note.empty()) ++notes_[name_in_layer(tensor) + ": " + note];
  rows_.push_back({tensor.name, chosen.format->name, tensor.shape.text(), note.empty() ? remark : note, size});
}

void FormatPlan::report(ConvertReport& to) {
  for (size_t i = 0; i < rules_.size(); ++i) {
    require(n_matched_[i] > 0, ErrorKind::usage, "{}: matches none of the {} tensors (blk.1.ffn_down_exps.weight, say)",
            rules_[i].text, tensors_.size());
  }
  to.bits_per_weight = 8.0 * double(bytes_) / double(weights_);
  to.tensors = std::move(rows_);
  for (const auto& [note, count] : notes_) {
    to.notes.push_back(fmt::format("{} ({} tensor{})", note, count, count == 1 ? "" : "s"));
  }
}

}  // namespace hearth
