#include "runtime/eval/input_sums.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "quant/gguf_keys.h"
#include "runtime/eval/gather_importance.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Vector = std::vector<double>;

ModelOptions listened(InputSums* sums) {
  return {.ops = &cpu_ops("scalar"), .cache_format = FormatId::f32, .inputs = sums};
}

// A model that is listened to.
struct Heard {
  explicit Heard(const TinyModel& tiny = TinyModel()) : model(tiny.file(), listened(&sums)) { sums.begin(model); }

  std::map<std::string, ImportanceSums> by_name() const {
    std::map<std::string, ImportanceSums> out;
    for (const ImportanceSums& entry : sums.entries()) out[entry.name] = entry;
    return out;
  }

  InputSums sums;
  Model model;
};

// Row by row in double. Matrix `m` of a stack.
struct Definition {
  TinyModel& tiny;
  std::map<std::string, std::map<int64_t, Vector>> squares;  // by name and matrix

  Vector times(const std::string& name, const Vector& x, int64_t m = 0, bool listened_to = true) {
    const TinyTensor& w = tiny.tensor(name);
    const int64_t cols = w.shape.cols(), rows = w.shape.rank == 3 ? w.shape.dim[1] : w.shape.rows();
    if (listened_to) hear(name, m, x);
    Vector y(size_t(rows), 0.0);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t c = 0; c < cols; ++c)
        y[size_t(i)] += double(w.values[size_t((m * rows + i) * cols + c)]) * x[size_t(c)];
    }
    return y;
  }
  void hear(const std::string& name, int64_t m, const Vector& x) {
    Vector& sum = squares[name][m];
    sum.resize(x.size());
    for (size_t c = 0; c < x.size(); ++c) sum[c] += x[c] * x[c];
  }
  Vector norm(const std::string& name, const Vector& x) {
    double mean = 0;
    for (const double v : x) mean += v * v / double(x.size());
    Vector y = x;
    for (size_t c = 0; c < x.size(); ++c) y[c] *= double(tiny.tensor(name).values[c]) / std::sqrt(mean + 1e-6);
    return y;
  }
  Vector gated(const std::string& gate, const std::string& up, const std::string& down, const Vector& x, int64_t m) {
    Vector g = times(gate, x, m);
    const Vector u = times(up, x, m);
    for (size_t i = 0; i < g.size(); ++i) g[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
    return times(down, g, m);
  }

  // A token that stands alone attends to itself only: what the heads give is W^UV c^KV.
  Vector attention(int layer, const Vector& x) {
    const TinyShape& s = tiny.shape;
    const auto in = [&](const char* role) { return name::in_layer(layer, role); };
    const Vector h = norm(in(name::kAttnNorm), x);
    const Vector q = times(in(name::kAttnQB), norm(in(name::kAttnQANorm), times(in(name::kAttnQA), h)));
    Vector c_kv = times(in(name::kAttnKvAMqa), h);
    c_kv.resize(size_t(s.kv_lora));
    c_kv = norm(in(name::kAttnKvANorm), c_kv);
    hear(in(name::kAttnKvB), 0, c_kv);
    Vector o;
    for (int64_t head = 0; head < s.n_heads; ++head) {
      const auto nope = q.begin() + head * (s.nope + s.rope);
      hear(in(name::kAttnKB), head, Vector(nope, nope + s.nope));
      const Vector v = times(in(name::kAttnVB), c_kv, head);
      o.insert(o.end(), v.begin(), v.end());
    }
    return times(in(name::kAttnOutput), o);
  }
};

Vector sum_of(const Vector& a, const Vector& b) {
  Vector c = a;
  for (size_t i = 0; i < c.size(); ++i) c[i] += b[i];
  return c;
}

void check_same(const std::map<std::string, ImportanceSums>& a, const std::map<std::string, ImportanceSums>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, entry] : a) {
    CAPTURE(name);
    const ImportanceSums& other = b.at(name);
    CHECK(std::ranges::equal(entry.counts, other.counts));
    for (size_t i = 0; i < entry.sums.size(); ++i) {
      REQUIRE(double(entry.sums[i]) == doctest::Approx(double(other.sums[i])).epsilon(1e-5));
    }
  }
}

}  // namespace

TEST_CASE("sums of squares equal their definition, by head and by expert") {
  TinyModel tiny;
  Heard heard(tiny);
  Definition definition{tiny, {}};
  const auto in = [&](int layer, const char* role) { return name::in_layer(layer, role); };
  for (const Token token : some_tokens(12, 300)) {
    KvCache cache = heard.model.new_cache();
    std::vector<float> logits(300);
    REQUIRE(heard.model.run({&token, 1}, cache, logits));
    const auto row = tiny.tensor(name::kTokenEmbd).values.begin() + token * tiny.shape.dim;
    Vector x(row, row + tiny.shape.dim);
    x = sum_of(x, definition.attention(0, x));
    x = sum_of(x, definition.gated(in(0, name::kFfnGate), in(0, name::kFfnUp), in(0, name::kFfnDown),
                                   definition.norm(in(0, name::kFfnNorm), x), 0));
    x = sum_of(x, definition.attention(1, x));
    const Vector h = definition.norm(in(1, name::kFfnNorm), x);
    definition.gated(in(1, name::kFfnGateShexp), in(1, name::kFfnUpShexp), in(1, name::kFfnDownShexp), h, 0);
    // The two groups of two experts with the largest scores, of these the three best.
    const Vector scores = definition.times(in(1, name::kFfnGateInp), h, 0, false);
    std::vector<int64_t> groups = {0, 1, 2, 3}, best;
    const auto group_score = [&](int64_t g) { return -std::max(scores[size_t(2 * g)], scores[size_t(2 * g + 1)]); };
    std::ranges::sort(groups, {}, group_score);
    for (int64_t g = 0; g < 2; ++g) best.insert(best.end(), {2 * groups[size_t(g)], 2 * groups[size_t(g)] + 1});
    std::ranges::sort(best, {}, [&](int64_t e) { return -scores[size_t(e)]; });
    for (int64_t k = 0; k < 3; ++k) {
      definition.gated(in(1, name::kFfnGateExps), in(1, name::kFfnUpExps), in(1, name::kFfnDownExps), h,
                       best[size_t(k)]);
    }
  }
  const auto entries = heard.by_name();
  for (const auto& [name, matrices] : definition.squares) {
    CAPTURE(name);
    const ImportanceSums& entry = entries.at(name);
    const bool experts = contains(name, "_exps");
    CHECK((experts ? 8 : contains(name, "_k_b") || contains(name, "_v_b") ? 3 : 1) == int(entry.counts.size()));
    for (const auto& [m, expected] : matrices) {
      CAPTURE(m);
      CHECK((experts ? entry.counts[size_t(m)] > 0 : entry.counts[size_t(m)] == 12));
      for (size_t c = 0; c < expected.size(); ++c) {
        REQUIRE(double(entry.sums[size_t(m) * expected.size() + c]) == doctest::Approx(expected[c]).epsilon(2e-4));
      }
    }
    double tokens = 0;
    for (const float n : entry.counts) tokens += double(n);
    if (experts) CHECK(tokens == 12 * 3);
  }
  CHECK(entries.at("output.weight").counts[0] == 12);
  CHECK(entries.at("blk.2.attn_output.weight").counts[0] == 12);
}

TEST_CASE("who listens changes nothing, and hears every token of a prompt once") {
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v3()}) {
    TinyModel tiny(shape);
    std::map<int64_t, std::vector<float>> chosen;  // tokens of each expert, by layer
    Heard heard(tiny);
    ModelOptions plain = listened(nullptr);
    plain.attention = AttentionForm::absorbed;
    plain.routed = [&](int64_t layer, const StepKind&, std::span<const int32_t> ids) {
      chosen[layer].resize(8);
      for (const int32_t id : ids) ++chosen[layer][size_t(id)];
    };
    Model model(tiny.file(), plain);
    const std::vector<Token> tokens = some_tokens(100, 300);
    const std::vector<float> expected = all_logits(model, tokens), found = all_logits(heard.model, tokens);
    for (size_t i = 0; i < expected.size(); ++i) REQUIRE(found[i] == doctest::Approx(expected[i]).epsilon(1e-3));
    for (const auto& [name, entry] : heard.by_name()) {
      CAPTURE(name);
      if (contains(name, "_exps")) {
        CHECK(std::ranges::equal(entry.counts, chosen.at(name[4] - '0')));
      } else {
        CHECK(std::ranges::count(entry.counts, 100.0f) == std::ssize(entry.counts));
      }
    }
    // Each matrix that may be quantized has its entry, of as many columns and matrices.
    const auto entries = heard.by_name();
    for (const TinyTensor& tensor : tiny.tensors) {
      if (tensor.shape.rank < 2 || tensor.name == name::kTokenEmbd || contains(tensor.name, "gate_inp")) continue;
      CAPTURE(tensor.name);
      REQUIRE(entries.contains(tensor.name));
      const ImportanceSums& entry = entries.at(tensor.name);
      const int64_t matrices = tensor.shape.rank == 3 ? tensor.shape.dim[0] : 1;
      CHECK(std::ssize(entry.counts) == matrices);
      CHECK(std::ssize(entry.sums) == matrices * tensor.shape.cols());
    }
  }
}

TEST_CASE("files of other layouts give the same, and their own names besides") {
  const std::vector<Token> tokens = some_tokens(40, 300);
  const auto heard_of = [&](const TinyModel& tiny) {
    auto heard = std::make_unique<Heard>(tiny);
    all_logits(heard->model, tokens);
    return heard;
  };
  TinyModel other;
  other.make_old_layout();
  check_same(heard_of(TinyModel())->by_name(), heard_of(other)->by_name());
  other = TinyModel();
  other.fuse_gate_up();
  const auto heard = heard_of(other);
  CHECK(std::ranges::equal(heard->by_name().at("blk.1.ffn_gate_up_exps.weight").sums,
                           heard->by_name().at("blk.1.ffn_gate_exps.weight").sums));
}

TEST_CASE("what several runs gathered is what one run over all of it gathers") {
  const TempDir dir;
  const std::vector<Token> tokens = some_tokens(128, 300);
  Heard whole, first, second;
  const Gathered all = gather_importance(whole.model, tokens, whole.sums, {.n_ctx = 32, .bos = 1});
  CHECK(all.chunks == 4);
  CHECK(all.perplexity > 10);
  gather_importance(first.model, tokens, first.sums, {.n_ctx = 32, .most = 1, .bos = 1});
  const float other[] = {1, 2}, count[] = {3};
  std::vector<ImportanceSums> entries = first.sums.entries();
  entries.push_back({"blk.3.attn_output.weight", other, count});  // of a layer that this model does not run
  write_importance(dir / "first.gguf", entries, {"text"}, 1, 32);
  gather_importance(second.model, tokens, second.sums, {.n_ctx = 32, .first = 1, .bos = 1});
  second.sums.add(ImportanceFile::open(dir / "first.gguf"));
  auto sums = second.by_name();
  CHECK(std::ranges::equal(sums.at("blk.3.attn_output.weight").sums, other));
  sums.erase("blk.3.attn_output.weight");
  check_same(whole.by_name(), sums);
  CHECK(whole.sums.experts_seen().experts == 8);
  CHECK(whole.sums.experts_seen().layers == 2);
}

TEST_CASE("a run that is stopped leaves what it gathered, and nothing that was not computed") {
  Heard heard;
  int64_t asked = 0, chunks = 0;
  const Gathered gathered = gather_importance(heard.model, some_tokens(256, 300), heard.sums,
                                              {.n_ctx = 64,
                                               .progress = [&](int64_t done, int64_t, double) { chunks = done; },
                                               .stop_now = [&] { return chunks == 1 && ++asked > 40; }});
  CHECK(gathered.chunks == 1);
  CHECK(gathered.of == 4);
  const auto entries = heard.by_name();
  CHECK(entries.at("blk.0.attn_q_a.weight").counts[0] == 128);
  CHECK(entries.at("output.weight").counts[0] == 64);
  heard.sums.require_finite();
}

TEST_CASE("importance: what cannot be gathered or added is refused") {
  const TempDir dir;
  const std::vector<Token> tokens = some_tokens(64, 300);
  Heard heard;
  const auto gather = [&](const GatherOptions& options) {
    gather_importance(heard.model, tokens, heard.sums, options);
  };
  CHECK(
      contains(refusal(ErrorKind::usage, [&] { gather({.n_ctx = 32, .first = 2}); }), "fewer than the 2 of 32 tokens"));
  CHECK(contains(refusal(ErrorKind::usage, [&] { gather({.n_ctx = 3}); }), "expected at least 4"));

  const auto added = [&](const std::string& path) { heard.sums.add(ImportanceFile::open(path)); };
  TinyShape wide;
  wide.dim = 96;
  Heard other{TinyModel(wide)};
  write_importance(dir / "other.gguf", other.sums.entries(), {}, 1, 32);
  CHECK(
      contains(refusal(ErrorKind::model, [&] { added(dir / "other.gguf"); }), "expected 1 x 64 values, found 1 x 96"));
  const float value[] = {1};
  write_importance(dir / "foreign.gguf", std::vector<ImportanceSums>{{"blk.0.attn_k.weight", value, value}}, {}, 1, 32);
  CHECK(contains(refusal(ErrorKind::model, [&] { added(dir / "foreign.gguf"); }), "found blk.0.attn_k.weight"));
  const char dat[] = "\1\0\0\0\1\0\0\0a\1\0\0\0\1\0\0\0\0\0\0\0";
  write_text(dir / "old.dat", {dat, sizeof dat - 1});
  CHECK(contains(refusal(ErrorKind::format, [&] { added(dir / "old.dat"); }), "numbers of tokens"));

  TinyModel broken;
  broken.tensor("blk.1.attn_norm.weight").values[3] = INFINITY;
  Heard infinite(broken);
  const std::string said =
      refusal(ErrorKind::model, [&] { gather_importance(infinite.model, tokens, infinite.sums, {.n_ctx = 32}); });
  CHECK_MESSAGE(contains(said, "blk.1.attn_q_a.weight: expected finite inputs"), said);
}
