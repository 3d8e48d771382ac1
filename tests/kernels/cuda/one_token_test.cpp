// What a step of one token has as one operation, against the operations that it stands for, one after the other on the
// same device: those have their own tests.
#include "kernels/cuda/one_token.h"

#include "kernels/cuda/attention/mla_attend.h"
#include "kernels/cuda/attention/rope.h"
#include "kernels/cuda/matmul/matmul_vec.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/route.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/cuda/rounded.h"
#include "tests/kernels/cuda/rows.h"
#include "tests/kernels/limits.h"
#include "tests/kernels/pages.h"
#include "tests/kernels/routing.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr float kEps = 1e-6f;

// Attention's sizes, and what its matrices are made of.
struct Model {
  int64_t d, q_lora, H, dn, dr, dv, r;
  FormatId first, q_b, kv_a, v_b, output;
};
constexpr FormatId kNone = FormatId::f32;
constexpr Model kLite = {512,           0, 8, 32, 16, 32, 64, FormatId::q4_k, kNone, FormatId::q8_0, FormatId::q8_0,
                         FormatId::q5_k};
constexpr Model kV2 = {
    512, 256, 8, 32, 16, 32, 64, FormatId::q5_k, FormatId::q4_k, FormatId::q8_0, FormatId::q8_0, FormatId::q6_k};

std::vector<float> floats_of(const Rows& rows) {
  return std::vector<float>(rows[0], rows[0] + rows.view().cols);
}

struct Layer {
  Layer(Rng& rng, const Model& m)
      : model(m),
        q(matrix(rng, m.first, 1, m.q_lora ? m.q_lora : m.H * (m.dn + m.dr), m.d)),
        q_b(matrix(rng, m.q_b, 1, m.H * (m.dn + m.dr), m.q_lora ? m.q_lora : m.d)),
        kv_a(matrix(rng, m.kv_a, 1, m.r + m.dr, m.d)),
        k_b(matrix(rng, FormatId::q8_0, m.H, m.r, m.dn)),
        v_b(matrix(rng, m.v_b, m.H, m.dv, m.r)),
        output(matrix(rng, m.output, 1, m.d, m.H * m.dv)),
        norm(floats_of(Rows::random(rng, 1, m.d))),
        q_a_norm(floats_of(Rows::random(rng, 1, std::max<int64_t>(m.q_lora, 1)))),
        kv_a_norm(floats_of(Rows::random(rng, 1, m.r))) {}

  AttentionWeights weights() const {
    AttentionWeights w;
    w.norm = norm;
    (model.q_lora ? w.q_a : w.q) = q.view;
    if (model.q_lora) w.q_b = q_b.view;
    w.q_a_norm = q_a_norm;
    w.kv_a = kv_a.view;
    w.kv_a_norm = kv_a_norm;
    w.k_b = k_b.view;
    w.v_b = v_b.view;
    w.output = output.view;
    return w;
  }

  Model model;
  DeviceWeight q, q_b, kv_a, k_b, v_b, output;
  DeviceArray<float> norm, q_a_norm, kv_a_norm;

 private:
  static DeviceWeight matrix(Rng& rng, FormatId id, int64_t count, int64_t n, int64_t k) {
    return DeviceWeight(TestWeight::gaussian(rng, format_of(id), count, n, k, 1 / std::sqrt(float(k))));
  }
};

// A sequence's cache of which `n` rows are random, and its last token.
struct Sequence {
  Sequence(Rng& rng, const Model& m, FormatId id, int64_t position, int64_t n_ctx)
      : table(n_ctx), memory(size_t(table.n_rows()) * format_of(id).bytes(m.r + m.dr)) {
    const size_t row_bytes = format_of(id).bytes(m.r + m.dr);
    std::vector<std::byte> bytes(size_t(table.n_rows()) * row_bytes, std::byte(0xFF));
    for (int64_t p = 0; p <= position; ++p) {
      const Rows row = Rows::random(rng, 1, m.r + m.dr);
      format_of(id).encode(row[0], nullptr, bytes.data() + size_t(table.row(p)) * row_bytes, m.r + m.dr);
    }
    memory.upload(bytes);
    cache = {memory.data(), id, table.n_rows(), m.r, m.dr};
    ids.upload(std::vector<int32_t>{int32_t(position)});
    sequences.upload(std::vector<int32_t>{0});
    pages = DeviceArray<int32_t>(table.pages);
    at = {ids, sequences, pages, int64_t(table.pages.size()), kPageBits, true, n_ctx};
    std::vector<float> values;
    for (int64_t i = 0; i < n_ctx * m.dr / 2; ++i) {
      values.push_back(std::cos(float(i)));
      values.push_back(std::sin(float(i)));
    }
    angles = DeviceArray<float>(values);
    rope = {angles, n_ctx, m.dr};
  }

  PageTable table;
  DeviceArray<std::byte> memory;
  DeviceArray<int32_t> ids{1}, sequences{1}, pages;
  DeviceArray<float> angles;
  LatentCache cache;
  Positions at;
  RopeTable rope;
};

ScratchLimits limits_of(const Model& m, int64_t n_ctx) {
  ScratchLimits l = attention_limits({m.H, m.r, m.dr, m.dn, m.dv}, 1, n_ctx);
  l.max_width = std::max({m.d, m.q_lora, m.H * (m.dn + m.dr), m.H * m.dv});
  l.multiprocessors = 200;
  return l;
}

double difference(const Rows& found, const Rows& expected) {
  double largest = 0, off = 0;
  for (int64_t i = 0; i < expected.view().cols; ++i) {
    largest = std::max(largest, double(std::abs(expected[0][i])));
    off = std::max(off, double(std::abs(found[0][i] - expected[0][i])));
    if (std::isnan(found[0][i])) return INFINITY;
  }
  CHECK(largest > 0);
  return off / largest;
}

// y, rest: whether there is something to be added to x.
void check_project(const Model& m, bool y, bool rest, FormatId cache_format = FormatId::bf16) {
  CAPTURE(m.d);
  CAPTURE(m.q_lora);
  CAPTURE(name_of(m.first));
  CAPTURE(name_of(m.kv_a));
  CAPTURE(y);
  CAPTURE(rest);
  Rng rng(7);
  const Layer layer(rng, m);
  const AttentionWeights w = layer.weights();
  const int64_t position = 130, Q = std::max<int64_t>(m.q_lora, 1);
  const Sequence sequence(rng, m, cache_format, position, 200);
  const Rows x = Rows::random(rng, 1, m.d), more = Rows::random(rng, 1, m.d), last = Rows::random(rng, 1, m.d);
  const DeviceRows device_y(more), device_rest(last);
  const DeviceArray<std::byte> scratch(gpu::matmul_vec_scratch(limits_of(m, 200)));
  const auto residual_of = [&](const DeviceRows& stream) {
    Residual r{stream.view(), {}, {}};
    if (y) r.y = device_y.read_only();
    if (rest) r.rest = device_rest.read_only();
    return r;
  };
  const auto take_up = [&](const Residual& r, Mat<float> h) {
    if (r.y.data) {
      gpu::add_rms_norm(on_gpu(), r.y, r.rest, r.x, w.norm, kEps, h);
    } else {
      gpu::rms_norm(on_gpu(), r.x, w.norm, kEps, h);
    }
  };

  const DeviceRows x0(x), h0(1, m.d), q_a0(1, Q), kv_a0(1, m.r + m.dr), q0(1, m.H * (m.dn + m.dr));
  take_up(residual_of(x0), h0.view());
  gpu::matmul_vec(on_gpu(scratch), w.kv_a, h0.view(), kv_a0.view());
  gpu::matmul_vec(on_gpu(scratch), m.q_lora ? w.q_a : w.q, h0.view(), m.q_lora ? q_a0.view() : q0.view());
  if (m.q_lora) {
    gpu::rms_norm(on_gpu(), q_a0.view(), w.q_a_norm, kEps, q_a0.view());
    gpu::matmul_vec(on_gpu(scratch), w.q_b, q_a0.view(), q0.view());
  }
  const Mat<float> q = q0.view();
  gpu::rope(on_gpu(), sequence.rope, sequence.at.ids, {q.data + m.dn, 1, m.H, m.dr, q.stride, m.dn + m.dr});
  gpu::store_latent(on_gpu(), kv_a0.view(), w.kv_a_norm, kEps, sequence.rope, sequence.cache, sequence.at);
  const std::vector<std::byte> stored = sequence.memory.download();
  const Rows expected = q0.download(), sum = x0.download();

  under_every_schedule([&] {
    const Sequence again(rng, m, cache_format, position, 200);
    const DeviceRows x1(x), h(1, m.d), q_a(1, Q), kv_a(1, m.r + m.dr), q1(1, m.H * (m.dn + m.dr));
    const Residual left = gpu::project_one(on_gpu(scratch), w, kEps, residual_of(x1), again.rope, again.cache, again.at,
                                           h.view(), q_a.view(), kv_a.view(), q1.view());
    CHECK(difference(q1.download(), expected) < 1e-5);
    const auto row_of = [&](const std::vector<std::byte>& bytes) {
      Rows row(1, m.r + m.dr);
      const size_t n = format_of(cache_format).bytes(m.r + m.dr);
      format_of(cache_format).decode(bytes.data() + size_t(again.table.row(position)) * n, row.view().data, m.r + m.dr);
      return row;
    };
    CHECK(difference(row_of(again.memory.download()), row_of(stored)) < (cache_format == FormatId::f32 ? 1e-5 : 1e-2));
    take_up(left, h.view());
    CHECK(x1.download().same_bits(sum));
    (void)scratch.download();
  });
}

void check_attend(const Model& m, FormatId cache_format, int64_t position, int64_t n_ctx, int multiprocessors) {
  CAPTURE(m.dv);
  CAPTURE(m.r);
  CAPTURE(name_of(m.v_b));
  CAPTURE(name_of(m.output));
  CAPTURE(position);
  CAPTURE(multiprocessors);
  Rng rng(8);
  const Layer layer(rng, m);
  const AttentionWeights w = layer.weights();
  const Sequence sequence(rng, m, cache_format, position, n_ctx);
  gpu::Queue queue = default_queue();
  queue.multiprocessors = multiprocessors;
  DeviceArray<std::byte> scratch(gpu::attend_one_scratch(limits_of(m, n_ctx)));
  const Exec exec{1, {scratch.data(), scratch.size()}, &queue};
  // What attention reads in pairs is aligned to them, as in the program.
  const DeviceRows q(Rows::random(rng, 1, m.H * (m.dn + m.dr)), 3, 4);
  const auto heads = [&](const DeviceRows& rows, int64_t width) {
    return Heads<float>{rows.view().data, 1, m.H, width, 0, width};
  };
  const auto part = [&](int64_t from, int64_t width) {
    return Heads<const float>{q.view().data + from, 1, m.H, width, 0, m.dn + m.dr};
  };
  const float scale = 0.2f;
  const DeviceRows q_c(1, m.H * m.r, 3, 4), o_c(1, m.H * m.r), o(1, m.H * m.dv), y(1, m.d);
  gpu::matmul_heads_vec(exec, w.k_b, part(0, m.dn), heads(q_c, m.r));
  gpu::mla_attend(exec, heads(q_c, m.r), part(m.dn, m.dr), sequence.cache, sequence.at, scale, heads(o_c, m.r));
  gpu::matmul_heads_vec(exec, w.v_b, heads(o_c, m.r), heads(o, m.dv));
  gpu::matmul_vec(exec, w.output, o.view(), y.view());
  const Rows expected = y.download();
  under_every_schedule([&] {
    scratch.poison();
    const DeviceRows q_c1(1, m.H * m.r, 3, 4), o_c1(1, m.H * m.r), o1(1, m.H * m.dv), y1(1, m.d);
    gpu::attend_one(exec, w, q.view(), sequence.cache, sequence.at, scale, heads(q_c1, m.r), heads(o_c1, m.r),
                    o1.view(), y1.view());
    CHECK(difference(y1.download(), expected) <
          2e-4);  // where a sum's last bit changes, an activation is rounded otherwise
    (void)scratch.download();
  });
}

}  // namespace

TEST_CASE("cuda project_one: with a query latent and without") {
  for (const Model& m : {kLite, kV2}) {
    check_project(m, false, false);
    check_project(m, true, false);
    check_project(m, true, true);
    check_project(m, true, false, FormatId::f32);
  }
}

TEST_CASE("cuda project_one: formats of one kind, side by side, and in launches of their own") {
  Model m = kLite;
  for (const auto& [first, kv_a] : {std::pair{FormatId::q3_k, FormatId::q8_0},
                                    {FormatId::iq3_s, FormatId::q8_0},
                                    {FormatId::q6_k, FormatId::q6_k},
                                    {FormatId::bf16, FormatId::bf16},
                                    {FormatId::f8_e4m3, FormatId::f8_e4m3},
                                    {FormatId::f32, FormatId::q5_0}}) {
    m.first = first, m.kv_a = kv_a;
    check_project(m, true, false);
  }
}

TEST_CASE("cuda project_one: widths that blocks do not normalise, and odd ones") {
  Model wide = kLite, odd = kLite;
  wide.d = 4352;
  check_project(wide, true, false);
  odd.d = 37, odd.r = 48;
  odd.first = odd.kv_a = FormatId::f16, odd.output = FormatId::bf16;
  check_project(odd, true, false);
  Model long_latent = kV2;
  long_latent.q_lora = 7680;  // more than a block prepares
  check_project(long_latent, true, false);
}

TEST_CASE("cuda attend_one: one piece, some to merge, and too many") {
  for (const FormatId cache : {FormatId::bf16, FormatId::f32}) {
    check_attend(kLite, cache, 40, 60, 4);
    check_attend(kLite, cache, 299, 700, 4);
    check_attend(kLite, cache, 70, 5000, 132);
  }
  check_attend(kV2, FormatId::bf16, 500, 1000, 2);  // fewer multiprocessors than heads: a block has all rows of a head
}

TEST_CASE("cuda attend_one: formats, and heads that are no whole groups") {
  Model m = kLite;
  for (const auto& [v_b, output] : {std::pair{FormatId::bf16, FormatId::q4_k},
                                    {FormatId::q5_0, FormatId::bf16},
                                    {FormatId::f8_e4m3, FormatId::q8_0},
                                    {FormatId::q4_0, FormatId::f32}}) {
    m.v_b = v_b, m.output = output;
    if (v_b == FormatId::f8_e4m3) m.r = 128;
    m.dv = output == FormatId::q4_k ? 256 : 32;
    check_attend(m, FormatId::bf16, 200, 400, 4);
  }
  m = kLite;
  m.dv = 20, m.output = FormatId::bf16;
  check_attend(m, FormatId::bf16, 200, 400, 4);
  m.dv = 48;  // the last block of a head has fewer rows
  check_attend(m, FormatId::bf16, 200, 400, 4);
  m.dv = 100, m.H = 2;
  check_attend(m, FormatId::bf16, 200, 400, 1);
}

TEST_CASE("cuda norm_route: the sum, its norm and the router's choice, rows of any alignment") {
  for (const Routing& rule : {lite(), v2(), v3(), plain(5, 2)}) {
    const int64_t E = rule.n_experts;
    for (const auto& [d, gap, rest] : {std::tuple{100, 0, false}, {37, 3, true}, {2048, 0, true}}) {
      CAPTURE(E);
      CAPTURE(d);
      Rng rng(3);
      std::vector<float> bias;
      if (rule.score == Routing::Score::sigmoid) {
        for (int64_t e = 0; e < E; ++e) bias.push_back(0.3f * normal(rng));
      }
      const DeviceWeight gate(TestWeight::gaussian(rng, format_of(FormatId::f32), 1, E, d, 0.3f));
      const DeviceArray<float> device_bias(bias);
      const float* given = bias.empty() ? nullptr : device_bias.data();
      const Rows x = Rows::random(rng, 1, d), y = Rows::random(rng, 1, d), last = Rows::random(rng, 1, d);
      const DeviceRows norm(Rows::random(rng, 1, d), gap, 4), device_y(y, gap, 4), device_rest(last, gap, 4);
      const DeviceArray<std::byte> scratch(gpu::route_scratch(route_limits(rule, 1, d)));
      const size_t K = size_t(rule.n_activated);
      const auto residual_of = [&](const DeviceRows& stream) {
        Residual r{stream.view(), device_y.read_only(), {}};
        if (rest) r.rest = device_rest.read_only();
        return r;
      };
      const DeviceRows x0(x, gap, 4), h0(1, d, gap, 4);
      const DeviceArray<int32_t> ids0(K), ids1(K);
      const DeviceArray<float> weights0(K), weights1(K);
      const Residual r = residual_of(x0);
      gpu::add_rms_norm(on_gpu(), r.y, r.rest, r.x, norm.view().data, kEps, h0.view());
      gpu::route(on_gpu(scratch), rule, gate.view, given, h0.view(), ids0, weights0);
      under_every_schedule([&] {
        const DeviceRows x1(x, gap, 4), h1(1, d, gap, 4);
        const DeviceArray<std::byte> rounded(Ops::OneToken::rounded_bytes(d));
        gpu::norm_route(on_gpu(scratch), rule, gate.view, given, residual_of(x1), norm.view().data, kEps, h1.view(),
                        rounded, ids1, weights1);
        CHECK(rounded_values(rounded.download(), d) == rounded_to_groups(h1.download()[0], d));
        CHECK(x1.download().same_bits(x0.download()));
        CHECK(difference(h1.download(), h0.download()) < 1e-6);
        CHECK(ids1.download() == ids0.download());
        const std::vector<float> found = weights1.download(), expected = weights0.download();
        for (size_t k = 0; k < K; ++k) CHECK(found[k] == doctest::Approx(expected[k]).epsilon(2e-5));
        (void)scratch.download();
      });
    }
  }
}
