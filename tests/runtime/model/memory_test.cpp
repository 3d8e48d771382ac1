// Where things lie: a step's activations, the latent cache, weights in a memory of the backend's own. Nothing overlaps,
// and sizes told beforehand are the sizes taken.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/model/activations.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/host_like.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Half-open ranges of addresses, each of which a test says to be somebody's.
class Ranges {
 public:
  void add(const void* begin, size_t bytes) {
    if (bytes > 0) ranges_.push_back({static_cast<const std::byte*>(begin), bytes});
  }
  void add(const Weight& w) {
    if (w) add(w.data, size_t(w.count) * size_t(w.n) * w.row_bytes);
  }
  bool disjoint() {
    std::ranges::sort(ranges_, {}, &Range::begin);
    for (size_t i = 1; i < ranges_.size(); ++i)
      if (ranges_[i - 1].begin + ranges_[i - 1].bytes > ranges_[i].begin) return false;
    return true;
  }
  bool aligned(size_t alignment) const {
    return std::ranges::all_of(ranges_, [&](const Range& r) { return size_t(r.begin) % alignment == 0; });
  }
  // All of them within `bytes` after the first.
  bool within(size_t bytes) {
    std::ranges::sort(ranges_, {}, &Range::begin);
    return ranges_.back().begin + ranges_.back().bytes <= ranges_.front().begin + bytes;
  }
  size_t count() const { return ranges_.size(); }

 private:
  struct Range {
    const std::byte* begin;
    size_t bytes;
  };
  std::vector<Range> ranges_;
};

ModelConfig config_of(const TinyShape& shape) {
  return read_config(TinyModel(shape).file());
}

void add(Ranges& ranges, const Mat<float>& m) {
  ranges.add(m.data, size_t(m.rows * m.cols) * sizeof(float));
}

Ranges ranges_of(const Activations& a, const ModelConfig& c) {
  Ranges ranges;
  const size_t T = size_t(a.n_tokens()), K = size_t(c.routing.n_activated);
  ranges.add(a.tokens, T * sizeof(int32_t));
  ranges.add(a.positions, T * sizeof(int32_t));
  ranges.add(a.sequences, T * sizeof(int32_t));
  ranges.add(a.ids, T * K * sizeof(int32_t));
  ranges.add(a.weights, T * K * sizeof(float));
  for (const Mat<float>& m : {a.x, a.h, a.y, a.q_a, a.q, a.kv_a, a.o, a.logits}) add(ranges, m);
  ranges.add(a.left_out, size_t(bit_words(c.vocab_size)) * sizeof(uint32_t));
  ranges.add(a.best.data, size_t(a.best.rows * a.best.cols) * sizeof(Entry));
  for (const Heads<float>& h : {a.q_c, a.o_c})
    ranges.add(h.data, size_t(h.n_tokens * h.n_heads * h.width) * sizeof(float));
  return ranges;
}

}  // namespace

TEST_CASE("activations: no view overlaps another one, in steps of any size") {
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v2(), TinyShape::v3()}) {
    const ModelConfig c = config_of(shape);
    for (const int64_t most : {1, 31, 64, 100}) {
      const ActivationMemory memory(c, host_device(), most);
      CHECK(memory.bytes() == ActivationMemory::bytes_for(c, most));
      for (const int64_t n : {int64_t(1), (most + 1) / 2, most}) {
        const Activations a = memory.step(n);
        CAPTURE(most);
        CAPTURE(n);
        CHECK(a.n_tokens() == n);
        CHECK(a.q.cols == c.n_heads * c.qk_head_dim());
        CHECK(a.kv_a.cols == c.cache_width());
        CHECK(a.q_c.n_tokens == std::min(n, kAbsorbedTokens));
        CHECK(a.logits.rows == std::min(most, kHeadTokens));
        Ranges ranges = ranges_of(a, c);
        CHECK(ranges.disjoint());
        CHECK(ranges.aligned(64));
        CHECK(ranges.within(memory.bytes()));
      }
      CHECK(ActivationMemory::bytes_for(c, most + 1) > memory.bytes());
    }
  }
}

TEST_CASE("pool: layers one behind the other, in as many bytes as were said") {
  const ModelConfig c = config_of(TinyShape::v2());
  for (const FormatId format : {FormatId::bf16, FormatId::f32}) {
    for (const int64_t n_pages : {1, 4}) {
      const LatentPool pool(c, host_device(), format, n_pages);
      CHECK(pool.bytes() == LatentPool::bytes_for(c, format, n_pages));
      const size_t taken = size_t(n_pages * kPagePositions) * format_of(format).bytes(c.cache_width());
      Ranges ranges;
      for (int64_t i = 0; i < c.n_layers; ++i) ranges.add(pool.layer(i).data, taken);
      CHECK(int64_t(ranges.count()) == c.n_layers);
      CHECK(ranges.disjoint());
      CHECK(ranges.aligned(64));
      CHECK(ranges.within(pool.bytes()));
      CHECK(pool.bytes() < size_t(c.n_layers) * (taken + 64));
    }
  }
  const auto f16 = [&] { return LatentPool::bytes_for(c, FormatId::f16, 8); };
  CHECK(refusal(ErrorKind::usage, f16) == "the cache's format: expected BF16 or F32, found F16");
}

// A device whose memory is its own, so that weights are copied into it.
class WithMemory final : public HostLike {
 public:
  Memory memory() override { return {size_t(1) << 30, size_t(1) << 30}; }
};

TEST_CASE("weights: copied one behind the other, in as many bytes as were said, and read in place without a copy") {
  for (const bool old_layout : {false, true}) {
    for (const bool all : {true, false}) {
      CAPTURE(old_layout);
      CAPTURE(all);
      TinyModel tiny(TinyShape::v3());
      if (old_layout) tiny.make_old_layout();
      const GgufFile file = tiny.file();
      const ModelConfig c = read_config(file);
      uint64_t done = 0, total = 0;
      const auto progress = [&](uint64_t d, uint64_t t) {
        CHECK(d >= std::exchange(done, d));
        total = t;
      };
      WithMemory device;
      const Weights copied = load_weights(file, c, device, all, progress);
      const Weights in_place = load_weights(file, c, host_device(), all);
      CHECK(copied.memory.bytes() == weight_bytes(file, c, all));
      CHECK(total == weight_bytes(file, c, all));
      CHECK(done == total);
      CHECK(in_place.memory.bytes() == 0);
      CHECK(in_place.owned.empty() == !old_layout);

      uint64_t sum = 0;
      for (const WeightSize& w : weight_sizes(file, c, all)) {
        sum += aligned_bytes(w.bytes());
        CHECK((all || w.name.find("_exps") == std::string::npos));
      }
      CHECK(sum == weight_bytes(file, c, all));

      Ranges ranges;
      const auto same = [](const Weight& a, const Weight& b) {
        if (!a || !b) return !a && !b;
        if (a.n != b.n || a.k != b.k || a.count != b.count || a.data == b.data) return false;
        for (int64_t i = 0; i < a.count; ++i)
          for (int64_t row = 0; row < a.n; ++row)
            if (memcmp(a.row(i, row), b.row(i, row), a.row_bytes) != 0) return false;
        return true;
      };
      std::vector<std::pair<Weight, Weight>> pairs = {{copied.token_embd, in_place.token_embd},
                                                      {copied.output, in_place.output}};
      for (size_t i = 0; i < copied.layers.size(); ++i) {
        const LayerWeights &a = copied.layers[i], &b = in_place.layers[i];
        const std::pair<Weight, Weight> of_layer[] = {
            {a.attn_q_a, b.attn_q_a},         {a.attn_q_b, b.attn_q_b},       {a.attn_kv_a_mqa, b.attn_kv_a_mqa},
            {a.attn_k_b, b.attn_k_b},         {a.attn_v_b, b.attn_v_b},       {a.attn_output, b.attn_output},
            {a.ffn.gate, b.ffn.gate},         {a.ffn.up, b.ffn.up},           {a.ffn.down, b.ffn.down},
            {a.ffn_gate_inp, b.ffn_gate_inp}, {a.shared.gate, b.shared.gate}, {a.shared.down, b.shared.down}};
        pairs.insert(pairs.end(), std::begin(of_layer), std::end(of_layer));
        if (all) {
          pairs.insert(pairs.end(), {{a.experts.gate, b.experts.gate}, {a.experts.down, b.experts.down}});
        } else {
          CHECK(a.experts.gate.data == b.experts.gate.data);  // left in the file
        }
      }
      for (const auto& [x, y] : pairs) {
        CHECK(same(x, y));
        ranges.add(x);
      }
      CHECK(ranges.disjoint());
      CHECK(ranges.aligned(kWeightAlign));
      CHECK(ranges.within(copied.memory.bytes()));
    }
  }
}
