#include "convert/export/scheme.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "quant/fp.h"

namespace hearth {
namespace {

constexpr int64_t kGroup = 128;

bool is_routed_expert(const ExportWeight& weight) {
  return weight.role == Role::expert_in || weight.role == Role::expert_down;
}

bool is_asked_for(const ExportWeight& weight, ExportFormat format, bool all_linears) {
  if (format == ExportFormat::kBf16 || weight.shape.rank != 2) return false;
  switch (weight.role) {
    case Role::vector:
    case Role::embedding:
    case Role::head:
    case Role::mtp_proj:
      return false;
    default:
      return format == ExportFormat::kFp8 || all_linears || is_routed_expert(weight);
  }
}

// The name of what engines load together with the weight.
std::string loaded_with(const ExportWeight& weight) {
  constexpr std::string_view kExperts = ".experts.";
  const std::string module = weight.module();
  if (is_routed_expert(weight)) return module.substr(0, module.find(kExperts) + kExperts.size());
  const size_t dot = module.rfind('.');
  const std::string last = module.substr(dot + 1);
  const bool of_mlp = last == "gate_proj" || last == "up_proj" || last == "down_proj";
  const bool of_latents = last == "q_a_proj" || last == "kv_a_proj_with_mqa";
  return of_mlp || of_latents ? module.substr(0, dot + 1) : module;
}

bool format_fits(const ExportWeight& weight, ExportFormat format) {
  const std::string module = weight.module();
  const bool others_below = module.ends_with(".gate_proj") || module.ends_with(".q_a_proj");
  const bool rows_fit = format != ExportFormat::kFp8 || !others_below || weight.shape.dim[0] % kGroup == 0;
  return rows_fit && weight.shape.dim[1] % kGroup == 0;
}

bool bf16_holds(const ExportWeight& weight) {
  if (&weight.rows->format() == &format_of(FormatId::bf16)) return true;
  ExportScratch scratch;
  std::vector<float> row(size_t(weight.shape.cols()));
  for (int64_t i = 0; i < weight.shape.rows(); ++i) {
    weight.rows->read(i, 1, scratch, row.data());
    const auto exact = [](float x) { return bf16_to_float(float_to_bf16(x)) == x; };
    if (!std::ranges::all_of(row, exact)) return false;
  }
  return true;
}

bool is_bias(const ExportWeight& weight) {
  return weight.name.ends_with(".e_score_correction_bias");
}

const WeightEncoder& encoder_of_rest(const ExportWeight& weight) {
  const bool small = weight.role == Role::vector;
  return is_bias(weight) || (small && !bf16_holds(weight)) ? f32_encoder() : bf16_encoder();
}

bool is_linear(const ExportWeight& weight) {
  return weight.shape.rank == 2 && weight.role != Role::embedding;
}

}  // namespace

ExportScheme choose_scheme(const std::vector<ExportWeight>& weights, ExportFormat format, bool all_linears) {
  ExportScheme scheme;
  std::map<std::string, std::string> unfit;  // what is loaded together -> the module that does not fit
  for (const ExportWeight& weight : weights) {
    if (is_asked_for(weight, format, all_linears) && !format_fits(weight, format))
      unfit.try_emplace(loaded_with(weight), fmt::format("{} {}", weight.module(), weight.shape.text()));
  }
  const WeightEncoder& quantizer = format == ExportFormat::kInt4 ? int4_encoder() : fp8_encoder();
  size_t n_wide = 0;
  for (const ExportWeight& weight : weights) {
    const bool quantized =
        is_asked_for(weight, format, all_linears) && (unfit.empty() || !unfit.contains(loaded_with(weight)));
    scheme.encoders.push_back(quantized ? &quantizer : &encoder_of_rest(weight));
    if (!quantized && is_linear(weight)) scheme.not_converted.push_back(weight.module());
    n_wide += !quantized && !is_bias(weight) && scheme.encoders.back() == &f32_encoder();
  }
  if (!unfit.empty()) {
    scheme.notes.push_back(fmt::format("BF16 stays: {} does not fit blocks of {}, nor what engines load with it{}",
                                       unfit.begin()->second, kGroup,
                                       unfit.size() > 1 ? fmt::format("; {} more like that", unfit.size() - 1) : ""));
  }
  if (n_wide > 0) {
    scheme.notes.push_back(n_wide == 1
                               ? "1 vector or router is F32, as BF16 does not hold it"
                               : fmt::format("{} vectors and routers are F32, as BF16 does not hold them", n_wide));
  }
  return scheme;
}

}  // namespace hearth
