#include "runtime/cli/plan_export.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "quant/gguf.h"
#include "runtime/cli/export_sizes.h"
#include "runtime/cli/terminal.h"
#include "runtime/model/read_config.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kGpus[] = {1, 2, 4, 8, 16};
constexpr uint64_t kCards[] = {24, 48, 80, 96, 141, 180};  // GB of usual ones
// Both engines leave a tenth of a card free unless told otherwise; activations and graphs take a few GB more.
constexpr double kUsed = 0.9;
constexpr uint64_t kWorking = 3'000'000'000;

constexpr struct {
  ExportFormat format;
  const char *name, *capability;
} kForms[] = {{ExportFormat::kBf16, "bf16", "8.0"},
              {ExportFormat::kFp8, "fp8", "8.9 (8.0: weights only)"},
              {ExportFormat::kInt4, "int4", "8.0"}};

// One form on some GPUs.
struct Share {
  uint64_t bytes = 0;            // of weights on each
  bool whole_experts = false;    // only so can they be divided
  std::string why_not;           // and not even so
  std::optional<uint64_t> card;  // the smallest, in GB; none is large enough
};

class ExportPlanned {
 public:
  explicit ExportPlanned(const PlanArguments& arguments)
      : arguments_(arguments), file_(GgufFile::open(arguments.path)), c_(read_config(file_)) {
    const InFile in_file = what_is_in(file_, c_);
    for (const auto& form : kForms) sizes_.push_back(export_sizes(c_, in_file, form.format));
    n_ctx_ = arguments.ctx > 0 ? arguments.ctx : c_.default_context();
  }

  void print_text() const;
  void print_json() const;

 private:
  uint64_t cache_per_token() const { return uint64_t(2 * c_.n_layers * c_.cache_width()); }

  std::optional<uint64_t> smallest_card(uint64_t weights) const {
    const double need = double(weights + kWorking + uint64_t(n_ctx_) * cache_per_token());
    for (const uint64_t card : kCards) {
      if (need <= kUsed * 1e9 * double(card)) return card;
    }
    return std::nullopt;
  }

  Share by_tensors(size_t form, int64_t n) const {
    const ExportSizes& s = sizes_[form];
    Share share;
    share.bytes = s.copied + (s.divided + s.experts) / uint64_t(n);
    if (!why_not_divided(c_, kForms[form].format, n, ExpertsBy::width).empty()) {
      share.whole_experts = true;
      share.why_not = why_not_divided(c_, kForms[form].format, n, ExpertsBy::number);
    }
    share.card = smallest_card(share.bytes);
    return share;
  }

  // Each GPU has all of attention for some of the conversations, and some of the experts for all of them.
  Share by_conversations(size_t form, int64_t n) const {
    const ExportSizes& s = sizes_[form];
    Share share;
    share.bytes = s.copied + s.divided + s.experts / uint64_t(n);
    if (c_.n_routed_experts % n != 0)
      share.why_not = fmt::format("{} experts are no multiple of {}", c_.n_routed_experts, n);
    share.card = smallest_card(share.bytes);
    return share;
  }

  void print_row(int64_t n, const std::vector<Share>& shares) const;
  ordered_json json_of(const Share& share) const;

  const PlanArguments& arguments_;
  GgufFile file_;
  ModelConfig c_;
  int64_t n_ctx_ = 0;
  std::vector<ExportSizes> sizes_;
};

std::string cell(const Share& share) {
  if (!share.why_not.empty()) return "-";
  const std::string card = share.card ? fmt::format("{} GB", *share.card) : "none";
  return fmt::format("{}{} on {:>6}", decimal_size_text(double(share.bytes)), share.whole_experts ? "*" : "", card);
}

void ExportPlanned::print_row(int64_t n, const std::vector<Share>& shares) const {
  print("  {:18}", n == 1 ? "1 GPU" : fmt::format("{} GPUs", n));
  for (const Share& share : shares) print(" {:>24}", cell(share));
  print("\n");
}

void ExportPlanned::print_text() const {
  print("{}: {}, as hearth export writes it for vLLM and SGLang\n", arguments_.path,
        c_.name.empty() ? "a model without a name" : c_.name);
  print("\n  {:18}", "form");
  for (const auto& form : kForms) print(" {:>24}", form.name);
  print("\n  {:18}", "weights");
  for (const ExportSizes& s : sizes_) print(" {:>24}", decimal_size_text(double(s.total())));
  print("\n  {:18}", "compute capability");
  for (const auto& form : kForms) print(" {:>24}", form.capability);
  print("\n\n  tensor parallelism: weights on each GPU, and the smallest card for {} tokens beside them\n", n_ctx_);
  bool starred = false;
  std::vector<std::string> remarks;
  for (const int64_t n : kGpus) {
    std::vector<Share> shares;
    for (size_t form = 0; form < std::size(kForms); ++form) {
      shares.push_back(by_tensors(form, n));
      const Share& share = shares.back();
      starred = starred || (share.whole_experts && share.why_not.empty());
      if (!share.why_not.empty()) remarks.push_back(fmt::format("{} on {}: {}", kForms[form].name, n, share.why_not));
    }
    print_row(n, shares);
  }
  if (starred)
    print("  {:18} * with expert parallelism besides: parts of an expert would not be of whole blocks\n", "");
  for (const std::string& remark : remarks) print("  {:18} - {}\n", "", remark);
  print("\n  attention by conversations (data parallelism), experts by number (expert parallelism)\n");
  for (const int64_t n : kGpus) {
    if (n == 1) continue;
    std::vector<Share> shares;
    for (size_t form = 0; form < std::size(kForms); ++form) shares.push_back(by_conversations(form, n));
    print_row(n, shares);
  }
  const uint64_t cache = cache_per_token();
  print("\n  {:18} {} bytes per token in BF16, {} for {} tokens: with tensor parallelism the whole of it on\n", "cache",
        cache, decimal_size_text(double(cache * uint64_t(n_ctx_))), n_ctx_);
  print("  {:18} every GPU, with data parallelism that of its own conversations\n", "");
  if (sizes_[1].mtp > 0)
    print("  {:18} {} of the fp8 weights are for multi-token prediction, and loaded for speculation only\n", "",
          decimal_size_text(double(sizes_[1].mtp)));
}

ordered_json ExportPlanned::json_of(const Share& share) const {
  ordered_json json = {{"bytes", share.bytes}, {"expert_parallel", share.whole_experts}};
  json["card_gb"] = share.card ? ordered_json(*share.card) : ordered_json(nullptr);
  if (!share.why_not.empty()) json["why_not"] = share.why_not;
  return json;
}

void ExportPlanned::print_json() const {
  ordered_json forms = ordered_json::object();
  for (size_t i = 0; i < std::size(kForms); ++i) {
    ordered_json tensors = ordered_json::object(), conversations = ordered_json::object();
    for (const int64_t n : kGpus) {
      tensors[std::to_string(n)] = json_of(by_tensors(i, n));
      if (n > 1) conversations[std::to_string(n)] = json_of(by_conversations(i, n));
    }
    forms[kForms[i].name] = {{"bytes", sizes_[i].total()},
                             {"mtp_bytes", sizes_[i].mtp},
                             {"compute_capability", kForms[i].capability},
                             {"tensor_parallel", tensors},
                             {"data_parallel", conversations}};
  }
  const ordered_json object = {{"file", arguments_.path},
                               {"model", c_.name},
                               {"ctx", n_ctx_},
                               {"cache_bytes_per_token", cache_per_token()},
                               {"forms", forms}};
  print("{}\n", object.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

}  // namespace

void plan_export_command(const PlanArguments& arguments) {
  const ExportPlanned planned(arguments);
  arguments.json ? planned.print_json() : planned.print_text();
}

}  // namespace hearth::cli
