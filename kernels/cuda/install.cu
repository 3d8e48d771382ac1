// The table of the CUDA backend, and the GPU it runs on.

#include "kernels/cuda/attention/mha_attend.h"
#include "kernels/cuda/attention/mla_attend.h"
#include "kernels/cuda/attention/rope.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/formats.cuh"
#include "kernels/cuda/host/gpu_device.h"
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/largest.h"
#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/one_token.h"
#include "kernels/cuda/route.h"
#include "quant/round_up.h"

namespace hearth {
namespace gpu {

namespace {

std::string refuses(const ScratchLimits& l) {
  const auto over = [](const char* what, int64_t found, int64_t most) {
    return std::string(what) + ": expected at most " + std::to_string(most) + ", found " + std::to_string(found);
  };
  const int64_t width = l.kv_lora_rank + l.qk_rope_head_dim,
                keys = round_up(l.qk_nope_head_dim, 16) + l.qk_rope_head_dim;
  if (width > kMaxLatentWidth) return over("the latent cache's width", width, kMaxLatentWidth);
  if (keys > kMaxKeyWidth) return over("a head's key", keys, kMaxKeyWidth);
  if (l.v_head_dim > kMaxValueWidth) return over("a head's value", l.v_head_dim, kMaxValueWidth);
  if (l.qk_nope_head_dim % 2 != 0 || l.v_head_dim % 2 != 0) {  // read in pairs
    return "a head's key without position and its value: expected even widths, found " +
           std::to_string(l.qk_nope_head_dim) + " and " + std::to_string(l.v_head_dim);
  }
  if (l.n_experts > kMaxExperts) return over("experts", l.n_experts, kMaxExperts);
  if (l.n_activated > kMaxActivated) return over("experts used", l.n_activated, kMaxActivated);
  return {};
}

void absorbed_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                     const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> q_c,
                     Heads<float> o_c, Heads<float> o) {
  matmul_heads(exec, k_b, q_nope, q_c);
  mla_attend(exec, q_c, q_rope, cache, at, scale, o_c);
  matmul_heads(exec, v_b, o_c, o);
}

Ops table() {
  Ops ops = {};
  ops.name = gpu_name();
  ops.scratch = {.matmul = matmul_scratch,
                 .mla_attend = attend_one_scratch,
                 .mha_attend = mha_attend_scratch,
                 .route = route_scratch,
                 .largest = largest_scratch};
  ops.refuses = refuses;
  ops.embed = embed;
  ops.rms_norm = rms_norm;
  ops.matmul = matmul;
  ops.matmul_pair = matmul_pair;
  ops.matmul_heads = matmul_heads;
  ops.rope = rope;
  ops.store_latent = store_latent;
  ops.mla_attend = mla_attend;
  ops.absorbed_attend = absorbed_attend;
  ops.mha_attend = mha_attend;
  ops.ffn = ffn;
  ops.route = route;
  ops.moe_ffn = moe_ffn;
  ops.add = add;
  ops.add_rms_norm = add_rms_norm;
  ops.largest = largest;
  ops.one_token = {.project = project_one, .attend = attend_one, .norm = norm_one, .route = norm_route};
  return ops;
}

std::string missing_kernels() {
  for (const Format& format : all_formats()) {
    if (!has_kernels(format.id)) return std::string("this build has no GPU kernels for the format ") + format.name;
  }
  return {};
}

}  // namespace
}  // namespace gpu

const char* gpu_name() {
  return GPU_EMULATED ? "emulated" : "cuda";
}

Gpu new_gpu(int number, std::unique_ptr<Device>& device) {
  static const Ops ops = gpu::table();
  Gpu opened;
  std::unique_ptr<gpu::GpuDevice> gpu = gpu::GpuDevice::open(number, opened.why_not);
  if (gpu) opened.why_not = gpu::missing_kernels();
  if (!opened.why_not.empty()) return opened;
  opened.ops = &ops;
  opened.device = gpu.get();
  opened.description = gpu->description();
  opened.slow_start = gpu->slow_start();
  device = std::move(gpu);
  return opened;
}

namespace {

int& chosen_gpu() {
  static int number = -1;
  return number;
}

}  // namespace

void choose_gpu(int number) {
  chosen_gpu() = number;
}

// The device is never destroyed: when static objects are destroyed, the driver may be gone already.
const Gpu& open_gpu() {
  static std::unique_ptr<Device>& device = *new std::unique_ptr<Device>;
  static const Gpu gpu = new_gpu(chosen_gpu() >= 0 ? chosen_gpu() : gpu::GpuDevice::largest(), device);
  return gpu;
}

}  // namespace hearth
