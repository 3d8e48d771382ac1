// What attention's kernels do to shared memory for each mma, and how often a block meets at a barrier: by the
// difference of two lengths of the context, at the published widths.
#include <cuda_runtime.h>

#include <fmt/format.h>

#include "kernels/cuda/attention/mha_attend.h"
#include "kernels/cuda/attention/mla_attend.h"
#include "quant/format.h"
#include "tests/emulation/settings.h"
#include "tests/emulation/traffic.h"
#include "tests/kernels/cuda/counts/counts.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/limits.h"
#include "tests/kernels/pages.h"

namespace hearth::test {
namespace {

using emulation::GridTraffic;

template <class T>
DeviceArray<T> zeros(int64_t n) {
  return DeviceArray<T>(std::vector<T>(size_t(n)));
}

// The cache, and where T tokens stand that end at position n - 1.
struct Context {
  Context(const AttentionShapes& s, int64_t n, int64_t T)
      : table(n),
        standing(table, n - T, T),
        ids(standing.ids),
        sequences(standing.sequences),
        pages(table.pages),
        rows(zeros<uint16_t>(table.n_rows() * (s.r + s.dr))),
        cache{reinterpret_cast<std::byte*>(rows.data()), FormatId::bf16, table.n_rows(), s.r, s.dr},
        at(standing.at) {
    at.ids = ids, at.sequences = sequences, at.pages = pages;
  }

  PageTable table;
  Standing standing;
  DeviceArray<int32_t> ids, sequences, pages;
  DeviceArray<uint16_t> rows;
  LatentCache cache;
  Positions at;
};

Heads<float> heads(float* data, int64_t T, int64_t H, int64_t width) {
  return {data, T, H, width, H * width, width};
}

// The one grid of that name.
GridTraffic take(emulation::TrafficWatch& watch, const std::string& name) {
  check_cuda(cudaDeviceSynchronize(), "attention");
  std::vector<GridTraffic> grids = watch.take();
  std::erase_if(grids, [&](const GridTraffic& grid) { return grid.name != name; });
  return grids.at(0);
}

// The first block of a token that is decoded.
GridTraffic of_mla(int64_t H, int64_t n) {
  const AttentionShapes s{H, 512, 64};
  const Context context(s, n, 1);
  const DeviceArray<float> q = zeros<float>(H * (s.r + s.dr)), o = zeros<float>(H * s.r);
  const DeviceArray<std::byte> scratch = zeros<std::byte>(gpu::mla_attend_scratch(on_gpu(attention_limits(s, 1, n))));
  emulation::TrafficWatch watch;
  gpu::mla_attend(on_gpu(scratch), heads(q, 1, H, s.r), heads(q + H * s.r, 1, H, s.dr), context.cache, context.at, 0.1f,
                  heads(o, 1, H, s.r));
  return take(watch, "mla_attend");
}

// The first block of T tokens of a prompt, its last queries, on a GPU with so many multiprocessors.
GridTraffic of_mha(int64_t T, int64_t n, int multiprocessors) {
  const AttentionShapes s{1, 512, 64, 128, 128};
  const Context context(s, n, T);
  const DeviceArray<float> q = zeros<float>(T * (s.nope + s.dr)), o = zeros<float>(T * s.v);
  const Format& bf16 = format_of(FormatId::bf16);
  const DeviceArray<std::byte> k_bytes = zeros<std::byte>(s.r * int64_t(bf16.bytes(s.nope)));
  const DeviceArray<std::byte> v_bytes = zeros<std::byte>(s.v * int64_t(bf16.bytes(s.r)));
  const Weight k_b{&bf16, k_bytes, 1, s.r, s.nope, bf16.bytes(s.nope), k_bytes.size()};
  const Weight v_b{&bf16, v_bytes, 1, s.v, s.r, bf16.bytes(s.r), v_bytes.size()};
  const DeviceArray<std::byte> scratch = zeros<std::byte>(gpu::mha_attend_scratch(on_gpu(attention_limits(s, T, n))));
  gpu::Queue queue = default_queue();
  queue.multiprocessors = multiprocessors;
  emulation::TrafficWatch watch;
  gpu::mha_attend({1, {scratch.data(), scratch.size()}, &queue}, heads(q, T, 1, s.nope),
                  heads(q + T * s.nope, T, 1, s.dr), k_b, v_b, context.cache, context.at, 0.1f, heads(o, T, 1, s.v));
  return take(watch, "mha_attend");
}

void print_row(const std::string& name, const GridTraffic& shorter, const GridTraffic& longer) {
  const auto per_mma = [&](const auto& of) {
    return double(of(longer.traffic) - of(shorter.traffic)) /
           double(longer.traffic.products - shorter.traffic.products);
  };
  using emulation::Traffic;
  fmt::print("{:<24} {:>7} | {:>8.3f} {:>8.3f} {:>8.3f} {:>9.3f} {:>8.3f} {:>6}\n", name, longer.threads.x,
             per_mma([](const Traffic& t) { return t.matrices.wavefronts; }),
             per_mma([](const Traffic& t) { return t.loads.wavefronts + t.stores.wavefronts; }),
             per_mma([](const Traffic& t) { return t.copies.wavefronts; }), per_mma([](const Traffic& t) {
               return t.matrices.conflicts + t.loads.conflicts + t.stores.conflicts + t.copies.conflicts;
             }),
             1000 * per_mma([](const Traffic& t) { return t.barriers; }), longer.shared_bytes);
}

}  // namespace

void count_attention() {
  emulation::settings().multiprocessors = 1;  // one piece or two
  emulation::settings().sampled_blocks = 1;
  fmt::print(
      "# Of a block of attention at the published widths, for each mma of a warp: wavefronts of ldmatrix, of loads "
      "and\n"
      "# stores, of copies into shared memory, and those of them that are conflicts. Barriers for 1000 mma of all its\n"
      "# warps; bytes of shared memory. Of mla_attend a decoded token, of mha_attend blocks of as many tokens of a "
      "prompt.\n"
      "# {:<22} {:>7} | {:>8} {:>8} {:>8} {:>9} {:>8} {:>6}\n",
      "kernel", "threads", "ldmatrix", "ld+st", "copies", "conflicts", "barriers", "smem");
  for (const int64_t H : {16, 32, 128}) {
    print_row(fmt::format("mla_attend {}_heads", H), of_mla(H, 512), of_mla(H, 1024));
  }
  for (const int n : {64, 128, 256}) {  // of a block, for so many multiprocessors that it is this one
    const int multiprocessors = 256 / n;
    print_row(fmt::format("mha_attend {}_tokens", n), of_mha(256, 512, multiprocessors),
              of_mha(256, 768, multiprocessors));
  }
  emulation::settings().sampled_blocks = 0;
}

}  // namespace hearth::test
