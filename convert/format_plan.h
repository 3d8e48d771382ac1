// Which format each tensor of a file to be made gets, by a recipe and by rules of the user's own; and what to say of
// it.
#pragma once

#include <cstdint>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "convert/estimate.h"
#include "convert/name_map.h"
#include "convert/recipe.h"
#include "quant/gguf.h"

namespace hearth {

struct ConvertPlanRow {
  std::string name, format, shape, note;  // note: "rows of 1408 do not fit Q4_K (256): Q5_0"
  uint64_t bytes = 0;
};

struct ConvertReport {
  uint64_t file_bytes = 0;  // exact, also for a plan
  double bits_per_weight = 0;
  MakingEstimate estimate;  // of a plan only
  std::vector<ConvertPlanRow> tensors;
  std::vector<std::string> notes;  // what the user should know: fallbacks by group, tensors skipped, odd things found,
                                   // and after a conversion weights that did not fit
};

void add_notes(ConvertReport& report, const std::vector<std::string>& notes);

// "PATTERN=FORMAT": matrices in whose names the regular expression (ECMAScript, as std::regex has it) is found get the
// format, whatever the recipe says.
struct TensorRule {
  std::string text;
  std::regex pattern;
  const Format* format;
};
// Throws Error(usage): no such pattern, no such format.
TensorRule tensor_rule(const std::string& text);

// The recipe of files that keep their tensors' formats, all or all but those that a rule names.
inline constexpr std::string_view kKeep = "keep";

class FormatPlan {
 public:
  // Throws Error(usage) for a recipe or a rule that is none. n_layers: of the model itself, without those for
  // multi-token prediction.
  FormatPlan(const std::string& recipe, const std::vector<std::string>& rules, int64_t n_layers);

  // Formats of tensors, by their names, that come before the recipe's and after the rules'.
  void fit(std::map<std::string, const Format*> formats) { fitted_ = std::move(formats); }
  // Of the last rule that matches, else of the recipe (keep: `source`, the format that it has); or the first of its
  // fallbacks that fits the rows. Vectors and the router stay in F32.
  ChosenFormat choose(const OutputTensor& tensor, const Format* source = nullptr);
  // `note`: how the tensor departs from what was asked for, where that is not for its rows' length. `remark`: what else
  // its row of the plan says, and the report's notes do not.
  void add(const OutputTensor& tensor, const ChosenFormat& chosen, std::string note = "", std::string remark = "");

  bool ruled(const std::string& name) const;  // by a rule
  const std::vector<GgufTensorPlan>& tensors() const { return tensors_; }
  // Moves the rows and the notes of all tensors into the report. Throws Error(usage) for a rule that no tensor matched.
  void report(ConvertReport& to);

 private:
  const Recipe* recipe_ = nullptr;  // null: keep
  std::map<std::string, const Format*> fitted_;
  std::vector<TensorRule> rules_;
  std::vector<int64_t> n_matched_;  // by rule
  int64_t n_layers_;
  std::vector<GgufTensorPlan> tensors_;
  std::vector<ConvertPlanRow> rows_;
  std::map<std::string, int> notes_;  // with the number of tensors of each
  uint64_t bytes_ = 0, weights_ = 0;
};

}  // namespace hearth
