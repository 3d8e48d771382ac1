// The table of the CUDA backend, and the GPU it runs on.
#include <algorithm>

#include "kernels/cuda/attention/mha_attend.h"
#include "kernels/cuda/attention/mla_attend.h"
#include "kernels/cuda/attention/rope.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/formats.cuh"
#include "kernels/cuda/host/device_state.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/route.h"

namespace hearth {
namespace gpu {

cudaStream_t compute_stream = nullptr;

namespace {

size_t scratch_bytes(const ScratchLimits& limits) {
  return std::max(
      {matmul_scratch(limits), mla_attend_scratch(limits), mha_attend_scratch(limits), route_scratch(limits)});
}

std::string refuses(const ScratchLimits& l) {
  const auto over = [](const char* what, int64_t found, int64_t most) {
    return std::string(what) + ": expected at most " + std::to_string(most) + ", found " + std::to_string(found);
  };
  const int64_t width = l.kv_lora_rank + l.qk_rope_head_dim,
                keys = (l.qk_nope_head_dim + 15) / 16 * 16 + l.qk_rope_head_dim;
  if (width > kMaxLatentWidth) return over("the latent cache's width", width, kMaxLatentWidth);
  if (keys > kMaxKeyWidth) return over("a head's key", keys, kMaxKeyWidth);
  if (l.v_head_dim > kMaxValueWidth) return over("a head's value", l.v_head_dim, kMaxValueWidth);
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
  ops.stream = compute_stream;
  ops.scratch_bytes = scratch_bytes;
  ops.refuses = refuses;
  ops.buffer = buffer;
  ops.release = release;
  ops.move = move;
  ops.memory = memory;
  ops.shared_buffer = shared_buffer;
  ops.release_shared = release_shared;
  ops.fetch = fetch;
  ops.fetched = fetched;
  ops.order_fetch = order_fetch;
  ops.await_fetch = await_fetch;
  ops.finish = finish;
  ops.step = step;
  ops.aside = aside;
  ops.rejoin = rejoin;
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
  return ops;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why there are no devices. A driver that is missing and one that is too old are the same error.
std::string why_none(cudaError_t error) {
  if (error == cudaSuccess) return "the driver found none";
  int driver = 0;
  if (error != cudaErrorInsufficientDriver || cudaDriverGetVersion(&driver) != cudaSuccess) {
    return cudaGetErrorString(error);
  }
  if (driver == 0) return "no NVIDIA driver is installed";
  return "the NVIDIA driver is too old: it knows CUDA up to " + version_text(driver) +
         ", and this program is built for " + version_text(CUDART_VERSION) + "; a newer driver is to be installed";
}

std::string open_device() {
  int n_devices = 0;  // which cudaGetDeviceCount leaves alone when it fails
  if (const cudaError_t error = cudaGetDeviceCount(&n_devices); error != cudaSuccess || n_devices == 0) {
    cudaGetLastError();
    return "no GPU can be used: " + why_none(error);
  }
  cudaDeviceProp properties{};
  cudaError_t error = cudaSetDevice(0);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&compute_stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return std::string("the GPU cannot be opened: ") + cudaGetErrorString(error);
  for (const Format& format : all_formats()) {
    if (!has_kernels(format.id)) return std::string("this build has no GPU kernels for the format ") + format.name;
  }
  constexpr int kOldest = 80;
  const int sm = properties.major * 10 + properties.minor;
  if (sm < kOldest) {
    return std::string(properties.name) + " is too old: compute capability " + std::to_string(properties.major) + "." +
           std::to_string(properties.minor) + ", expected at least 8.0";
  }
  return {};
}

std::string describe() {
  cudaDeviceProp p{};
  if (cudaGetDeviceProperties(&p, 0) != cudaSuccess) return {};
  const size_t tenths =
      p.totalGlobalMem / (size_t(1) << 30) * 10 + p.totalGlobalMem % (size_t(1) << 30) * 10 / (size_t(1) << 30);
  return std::string(p.name) + ", sm_" + std::to_string(p.major * 10 + p.minor) + ", " + std::to_string(tenths / 10) +
         "." + std::to_string(tenths % 10) + " GiB";
}

}  // namespace
}  // namespace gpu

const char* gpu_name() {
  return GPU_EMULATED ? "emulated" : "cuda";
}

const Gpu& open_gpu() {
  static Ops ops;
  static const Gpu gpu = [] {
    Gpu opened;
    opened.why_not = gpu::open_device();
    if (!opened.why_not.empty()) return opened;
    ops = gpu::table();
    opened.ops = &ops;
    opened.description = gpu::describe();
    return opened;
  }();
  return gpu;
}

}  // namespace hearth
