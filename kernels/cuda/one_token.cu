#include "kernels/cuda/one_token.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/attention/mla_attend.h"
#include "kernels/cuda/attention/rope.h"
#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/matmul_vec.h"
#include "kernels/cuda/norm.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

// The widest residual that each block of a product normalises: two rows of 16 KB.
constexpr int64_t kMostNormalized = 4096;

// A launch of W x with x [1,k].
vec::Job product(const Weight& w, const vec::Input& input, float* y) {
  vec::Job job;
  job.dense = vec::stack_of(w);
  job.dense.input = input;
  job.dense.y = y;
  return job;
}

vec::Input plain(const float* x, const std::byte* rounded = nullptr) {
  vec::Input input;
  input.x = x;
  input.rounded = rounded;
  return input;
}

vec::Input normalized(const float* x, const float* add, const float* norm, float eps) {
  vec::Input input;
  input.x = x;
  input.add = add;
  input.norm = norm;
  input.eps = eps;
  return input;
}

}  // namespace

Residual project_one(const Exec& exec, const AttentionWeights& w, float eps, const Residual& residual,
                     const RopeTable& table, const LatentCache& cache, const Positions& at, Mat<float> h,
                     Mat<float> q_a, Mat<float> kv_a, Mat<float> q) {
  assert(residual.x.rows == 1);
  const int64_t d = residual.x.cols;
  const Weight& first = w.q ? w.q : w.q_a;
  const bool by_blocks = !residual.rest.data && d <= kMostNormalized && vec::prepares_own(*first.format, d) &&
                         vec::prepares_own(*w.kv_a.format, d);
  Scratch scratch(exec);
  std::byte* const rounded = scratch.take<std::byte>(int64_t(Ops::OneToken::rounded_bytes(d)));
  std::byte* const prepared = scratch.take<std::byte>(vec::prepared_scratch(1, std::max(d, w.q_b.k)));
  if (!by_blocks) norm_one(exec, residual, w.norm, eps, h, rounded);
  const vec::Input input =
      by_blocks ? normalized(residual.x.data, residual.y.data, w.norm, eps) : plain(h.data, rounded);
  const auto rotate = [&](vec::Job& job) {
    job.dense.output = vec::Output::rotated;
    const int64_t n_heads = w.k_b.count;
    job.rotation = {table, at.ids, int(q.cols / n_heads)};
  };

  vec::Job job = product(first, input, w.q ? q.data : q_a.data);
  if (w.q) rotate(job);
  const bool together = vec::in_one_launch(*first.format, *w.kv_a.format);
  vec::Job latent = product(w.kv_a, input, kv_a.data);
  vec::Stack& stored = together ? (job.beside = latent.dense) : latent.dense;
  stored.output = vec::Output::latent;
  (together ? job : latent).latent = {w.kv_a_norm, eps, table, cache, at, queue_of(exec).counters};
  vec::launch_product(exec, job, 1, prepared);
  if (!together) vec::launch_product(exec, latent, 1, prepared);

  if (w.q_b) {
    const bool own = vec::prepares_own(*w.q_b.format, w.q_b.k);
    if (!own) rms_norm(exec, q_a, w.q_a_norm, eps, q_a);
    vec::Job up = product(w.q_b, own ? normalized(q_a.data, nullptr, w.q_a_norm, eps) : plain(q_a.data), q.data);
    rotate(up);
    vec::launch_product(exec, up, 1, prepared);
  }
  return by_blocks ? residual : Residual{residual.x, {}, {}};
}

void attend_one(const Exec& exec, const AttentionWeights& w, Mat<const float> q, const LatentCache& cache,
                const Positions& at, float scale, Heads<float> q_c, Heads<float> o_c, Mat<float> o, Mat<float> y) {
  const int64_t H = w.k_b.count, dn = w.k_b.k, r = w.k_b.n, dr = cache.rope_dim, dv = w.v_b.n;
  const auto part = [&](int64_t from, int64_t width) {
    return Heads<const float>{q.data + from, 1, H, width, q.stride, dn + dr};
  };
  matmul_heads_vec(exec, w.k_b, part(0, dn), q_c);

  // What W^O multiplies stands before the pieces.
  std::byte* const prepared = exec.scratch.data();
  const size_t prepared_bytes = round_up(size_t(vec::most_prepared_bytes(w.output.k)), 256);
  Exec behind = exec;
  behind.scratch = exec.scratch.subspan(prepared_bytes);
  const int64_t most_pieces = r <= vec::kMaxMerged ? vec::kMaxPieces : 0;
  const MlaPieces pieces = mla_attend_pieces(behind, q_c, part(dn, dr), cache, at, scale, o_c, most_pieces);

  const bool prepares = dv % 16 == 0;  // groups do not go over from one head to the next
  vec::Input input;
  input.x = o_c.data;
  input.x_matrix = o_c.head_stride;
  input.pieces = pieces;
  vec::Job values = product(w.v_b, input, o.data);
  values.dense.y_matrix = dv;
  if (prepares) {
    values.dense.output = vec::Output::prepared;
    values.dense.prepared = prepared;
    values.dense.prepared_apart = vec::apart_of(*w.output.format);
  }
  vec::launch_product(behind, values, H, nullptr);

  vec::Input all;
  if (prepares) {
    all.rows = prepared;
  } else {
    all.x = o.data;
  }
  vec::launch_product(exec, product(w.output, all, y.data), 1, exec.scratch.data());
}

size_t attend_one_scratch(const ScratchLimits& l) {
  const size_t before = round_up(size_t(vec::most_prepared_bytes(l.n_heads * l.v_head_dim)), 256);
  Scratch project;
  project.take<std::byte>(int64_t(Ops::OneToken::rounded_bytes(l.dim)));
  project.take<std::byte>(vec::prepared_scratch(1, l.max_width));
  return std::max({mla_attend_scratch(l) + before, matmul_vec_scratch(l), project.used()});
}

}  // namespace hearth::gpu
