// What is kept of experts in files, statistics and recordings, of which nothing is trusted; and the pictures of them.
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>

#include "quant/error.h"
#include "runtime/eval/expert_plots.h"
#include "runtime/eval/expert_trace.h"
#include "runtime/offload/expert_stats.h"
#include "tests/runtime/eval/xml.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

ExpertStats some_stats() {
  return {0x0123456789abcdef, 2, 3, 100, {50, 25.5, 24.5, 0, 40, 60}};
}

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("statistics are read as they were written") {
  TempDir dir;
  const std::string path = expert_stats_path(dir / "model.gguf");
  CHECK(path == dir / "model.gguf.experts");
  const ExpertStats stats = some_stats();
  CHECK(load_expert_stats(path, stats).why_not == "");  // there is none yet, which is nothing to tell
  CHECK(save_expert_stats(path, stats) == "");
  const auto loaded = load_expert_stats(path, {stats.model_key, 2, 3, 0, {}});
  REQUIRE(loaded.stats);
  CHECK(loaded.why_not == "");
  CHECK(loaded.stats->counts == stats.counts);
  CHECK(loaded.stats->tokens == 100);
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);  // no temporary file is left
}

TEST_CASE("statistics that cannot be written are told, and what was there stays") {
  TempDir dir;
  CHECK(mentions(save_expert_stats(dir / "no/model.experts", some_stats()), {"no/model.experts", "cannot create"}));
  fs::create_directory(dir / "taken");
  CHECK(mentions(save_expert_stats(dir / "taken", some_stats()), {"taken", "is a folder"}));
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("damaged statistics, and those of another model, are ignored with a line") {
  TempDir dir;
  const std::string path = dir / "stats";
  const ExpertStats stats = some_stats();
  REQUIRE(save_expert_stats(path, stats) == "");
  const std::string good = text_of(path);
  const auto refused = [&](const std::string& text, std::initializer_list<const char*> parts) {
    write(path, text);
    const auto loaded = load_expert_stats(path, stats);
    CHECK(!loaded.stats);
    CHECK(loaded.why_not.find('\n') == std::string::npos);
    CHECK(loaded.why_not.ends_with("; ignored"));
    CHECK(mentions(loaded.why_not, parts));
  };
  refused("", {"damaged"});
  refused("[1, 2]", {"damaged"});
  refused(good.substr(0, good.size() / 2), {"damaged"});
  refused(std::string(1000000, '['), {"damaged"});
  refused(replaced(good, "\"version\":1", "\"version\":2"), {"\"version\"", "expected 1, found 2"});
  refused(replaced(good, "\"version\":1", "\"version\":\"\xff\""), {"damaged"});
  refused(replaced(good, "\"layers\":2,", ""), {"\"layers\" is missing"});
  refused(replaced(good, "\"layers\":2", "\"layers\":3"), {"expected 3 layers, found 2"});
  refused(replaced(good, "\"layers\":2", "\"layers\":-1"), {"expected 1 to 1024, found -1"});
  refused(replaced(good, "\"experts\":3", "\"experts\":1e300"), {"expected 1 to 65536, found 1e+300"});
  refused(replaced(good, "\"experts\":3", "\"experts\":4"), {"expected 4 experts in each layer, found 3"});
  refused(replaced(good, "25.5", "-1"), {"expected a number of tokens, found -1"});
  refused(replaced(good, "25.5", "\"x\""), {"expected a number of tokens", "x"});
  refused(replaced(good, "25.5", "1e200"), {"expected a number of tokens"});
  refused(replaced(good, "\"tokens\":100.0", "\"tokens\":null"), {"\"tokens\"", "null"});
  refused(replaced(good, "0123456789abcdef", "0123456789abcdeg"), {"16 hexadecimal digits"});
  refused(replaced(good, "0123456789abcdef", "fedcba9876543210"),
          {"another model", "expected 0123456789abcdef, found fedcba9876543210"});
  write(path, good);
  CHECK(mentions(load_expert_stats(path, {stats.model_key, 2, 4, 0, {}}).why_not, {"2 layers of 4", "2 of 3"}));
  fs::remove(path);
  fs::create_directory(path);
  CHECK(!load_expert_stats(path, stats).stats);
}

static constexpr StepKind kPrompt = {.n_tokens = 2}, kNext = {.n_tokens = 1, .decodes = true, .position = 2};

TEST_CASE("a recording is read as it was written, by slices or token by token") {
  TempDir dir;
  const std::string path = dir / "trace";
  const TraceShape shape{"tiny \"model\"", 2, 300, 2, {111, 222}, 333, 444};
  {
    ExpertTraceWriter writer(path, shape);
    writer.add(0, kPrompt, std::vector<int32_t>{0, 1, 2, 299});  // two tokens
    writer.add(1, kPrompt, std::vector<int32_t>{4, 5, 6, 7});
    writer.add(0, kNext, std::vector<int32_t>{8, 9});  // stopped: its second layer never came
    writer.add(0, kNext, std::vector<int32_t>{10, 11});
    CHECK(!fs::exists(path));
    writer.add(1, kNext, std::vector<int32_t>{12, 13});
    const StepKind three = {.n_tokens = 3, .decodes = true, .position = 7};  // of three conversations
    writer.add(0, three, std::vector<int32_t>{1, 2, 3, 4, 5, 6});
    writer.add(1, three, std::vector<int32_t>{6, 5, 4, 3, 2, 1});
    CHECK(writer.n_steps() == 3);
    writer.finish();
  }
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
  const ExpertTrace trace = read_expert_trace(path);
  CHECK(trace.shape.model == shape.model);
  CHECK(trace.shape.expert_bytes == shape.expert_bytes);
  CHECK(trace.shape.token_bytes == 333);
  CHECK(trace.shape.fixed_bytes == 444);
  REQUIRE(trace.steps.size() == 3);
  CHECK(trace.steps[0].n_tokens == 2);
  CHECK(trace.steps[0].n_decoded() == 0);
  CHECK(trace.steps[1].n_decoded() == 1);
  CHECK(trace.steps[2].n_decoded() == 3);
  CHECK(trace.steps[2].ids.size() == 12);
  CHECK(trace.steps[0].ids == std::vector<uint16_t>{0, 1, 2, 299, 4, 5, 6, 7});
  CHECK(trace.steps[1].position == 2);
  const ExpertTrace tokens = token_by_token(trace);
  REQUIRE(tokens.steps.size() == 6);
  CHECK(tokens.steps[5].ids == std::vector<uint16_t>{5, 6, 2, 1});
  CHECK(tokens.steps[1].ids == std::vector<uint16_t>{2, 299, 6, 7});
  CHECK(tokens.steps[2].position == 2);
}

TEST_CASE("a recording that is not finished leaves nothing; one that cannot be written is told") {
  TempDir dir;
  const TraceShape shape{"tiny", 1, 4, 1, {1}, 0, 0};
  { ExpertTraceWriter writer(dir / "trace", shape); }
  CHECK(fs::is_empty(dir.path()));
  CHECK_THROWS_WITH_AS(ExpertTraceWriter(dir / "no/trace", shape), doctest::Contains("cannot create"), Error);
  fs::create_directory(dir / "taken");
  CHECK_THROWS_WITH_AS(ExpertTraceWriter(dir / "taken", shape), doctest::Contains("is a folder"), Error);
  if (!fs::exists("/dev/full")) return;
  fs::create_symlink("/dev/full", dir / "full");
  ExpertTraceWriter full(dir / "full", shape);
  for (int i = 0; i < 10000; ++i) full.add(0, {1, true, i}, std::vector<int32_t>{1});
  CHECK_THROWS_WITH_AS(full.finish(), doctest::Contains("cannot write"), Error);
}

TEST_CASE("a damaged recording is refused by what is wrong") {
  TempDir dir;
  const std::string path = dir / "trace";
  {
    ExpertTraceWriter writer(path, {"tiny", 1, 4, 2, {10}, 20, 30});
    writer.add(0, kPrompt, std::vector<int32_t>{0, 3});
    writer.finish();
  }
  const std::string good = text_of(path);
  const auto refused = [&](const std::string& bytes, std::initializer_list<const char*> parts) {
    write(path, bytes);
    CHECK(mentions(refusal(ErrorKind::format, [&] { read_expert_trace(path); }), parts));
  };
  refused("HEART", {"not a recording"});
  refused(replaced(good, "HEARTHEX", "HEARTHKL"), {"not a recording"});
  refused(replaced(good, std::string("HEARTHEX\1", 9), std::string("HEARTHEX\2", 9)), {"version", "1, found 2"});
  refused(good.substr(0, 40), {"truncated", "header"});
  refused(good.substr(0, good.size() - 1), {"truncated", "step 0"});
  refused(good + "x", {"truncated", "step 1"});
  std::string other = good;
  other[good.size() - 2] = 4;
  refused(other, {"step 0", "experts below 4, found 4"});
  other = good;
  std::memset(&other[good.size() - 8], 0xff, 4);  // four thousand million tokens
  refused(other, {"truncated", "step 0"});
  other = good;
  std::memset(&other[good.size() - 8], 0, 4);  // none
  refused(other, {"truncated", "step 0"});
  refused(replaced(good, "\"layers\":1", "\"layers\":0"), {"\"layers\"", "1 to 1024"});
  refused(replaced(good, "\"activated\":2", "\"activated\":9"), {"\"activated\"", "1 to 4"});
  refused(replaced(good, "\"experts\":4", "\"experts\":x"), {"JSON"});
  refused(replaced(good, "[10]", "[-1]"), {"\"expert_bytes\""});
  refused(replaced(good, "[10]", "\"10\""), {"\"expert_bytes\"", "1 numbers"});
  refused(replaced(good, "\"token_bytes\"", "\"tolen_bytes\""), {"\"token_bytes\" is missing"});
}

TEST_CASE("sizes in a recording are those of the model") {
  ModelOptions options;
  options.ops = &cpu_ops("scalar");
  const Model model(TinyModel().file(), options);
  const TraceShape shape = trace_shape(model);
  CHECK(shape.n_layers == 2);
  CHECK(shape.n_experts == 8);
  CHECK(shape.n_activated == 3);
  CHECK(shape.expert_bytes == std::vector<uint64_t>(2, 3 * 32 * 64 * 4));
  CHECK(shape.fixed_bytes > shape.token_bytes);
}

TEST_CASE("the heat map names every expert, and its summary the busiest") {
  const ExpertStats stats = some_stats();
  const std::string svg = plot_heat_map(stats);
  CHECK(well_formed(svg));
  CHECK(count(svg, "<title>layer ") == 6);
  CHECK(svg.find("layer 1, expert 2: 60.00 % of tokens, 1.80 x average") != std::string::npos);
  CHECK(svg.find("2 layers of 3 experts, 100 tokens") != std::string::npos);
  CHECK(svg.find("prefers-color-scheme: dark") != std::string::npos);
  const ExpertShares shares = expert_shares(stats, 2);
  CHECK(shares.never == 1);
  CHECK(shares.top_10 == 0);  // a tenth of six experts is none
  CHECK(shares.top_30 == doctest::Approx(60.0 / 200));
  REQUIRE(shares.most.size() == 2);
  CHECK(shares.most[0].layer == 1);
  CHECK(shares.most[0].expert == 2);
  CHECK(shares.most[0].share == doctest::Approx(0.6));
  CHECK(shares.least[0].expert == 0);
  CHECK(well_formed(plot_heat_map({0, 1, 1, 0, {0}})));
}

TEST_CASE("the plot of hit rates holds its numbers, names and the machine's own size") {
  Simulation s;
  s.all_expert_bytes = uint64_t(64) << 30;
  s.vram_share = 0.25;
  s.sizes = {{0, 0, 0, {{"LRU", 0, 1, 0, 0}, {"optimum", 0, 1, 0, 0}}},
             {0.25, 10, uint64_t(16) << 30, {{"LRU", 0.4321, 1, 0, 0}, {"optimum", 0.75, 1, 0, 0}}}};
  const std::string svg = plot_hit_rates(s, "a <model> & more");
  CHECK(well_formed(svg));
  CHECK(svg.find("LRU: 43.2 % found with 25 % of the experts (16.0 GiB)") != std::string::npos);
  CHECK(svg.find("a &lt;model&gt; &amp; more") != std::string::npos);
  CHECK(svg.find("this GPU") != std::string::npos);
  CHECK(count(svg, "<polyline") == 4);  // two policies, there and in the legend
  CHECK(well_formed(plot_hit_rates({}, "")));
}
