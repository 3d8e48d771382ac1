// What files of the demo model lose beside one that lost nothing, over the answers to its held-out questions:
//   quality REFERENCE.gguf FILE.gguf...      a line of JSON for each file
//
// bits: of all its weights, on average. kl, kl_999: KL divergence of the next token's distribution from the
// reference's, the correct answer so far given: mean and 99.9th percentile over all tokens of answers, in nats. top1:
// the share of these tokens whose likeliest is the reference's. exact: the share of questions answered exactly by
// greedy decoding.
#define DOCTEST_CONFIG_IMPLEMENT  // what tests require, this requires, too
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/golden/demo_items.h"

using namespace hearth;
using namespace hearth::test;

namespace {

double bits_per_weight(const GgufFile& file) {
  double bytes = 0, weights = 0;
  for (const Tensor& tensor : file.tensors()) {
    bytes += double(tensor.bytes());
    weights += double(tensor.shape.elems());
  }
  return 8 * bytes / weights;
}

// Of sorted values.
double percentile(const std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1, size_t(std::ceil(share * double(sorted.size()))) - 1)];
}

void print_quality(const std::string& path, const std::vector<Item>& items, const Logits& reference) {
  const Logits logits = answers_logits(path, items);
  std::vector<double> kl;
  size_t n_same = 0, n_exact = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const size_t n = items[i].expected.size(), V = logits[i].size() / n;
    for (const double of_token : divergences(reference[i], logits[i], n)) kl.push_back(of_token);
    for (size_t t = 0; t < n; ++t) {
      n_same +=
          most_likely(std::span(logits[i]).subspan(t * V, V)) == most_likely(std::span(reference[i]).subspan(t * V, V));
    }
    n_exact += is_likeliest(logits[i], items[i].expected);
  }
  double sum = 0;
  for (const double of_token : kl) sum += of_token;
  std::ranges::sort(kl);
  fmt::print(R"({{"file": "{}", "bits": {:.3f}, "kl": {:.3g}, "kl_999": {:.3g}, "top1": {:.5f}, "exact": {:.4f}}})"
             "\n",
             fs::path(path).filename().string(), bits_per_weight(GgufFile::open(path)), sum / double(kl.size()),
             percentile(kl, 0.999), double(n_same) / double(kl.size()), double(n_exact) / double(items.size()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "expected REFERENCE.gguf FILE.gguf..., found {} arguments\n", argc - 1);
    return 2;
  }
  doctest::Context context;
  context.setAsDefaultForAssertsOutOfTestCases();
  context.setAssertHandler([](const doctest::AssertData& assert) {
    if (!assert.m_failed) return;
    fmt::print(stderr, "{}:{}: expected {}\n", assert.m_file, assert.m_line, assert.m_expr);
    std::exit(1);
  });
  const GgufFile file = GgufFile::open(argv[1]);
  const Tokenizer tokenizer(file.metadata());
  const ChatTemplate chat = choose_chat_template("", file.metadata(), tokenizer).value();
  const std::vector<Item> items = read_items(tokenizer, chat);
  const Logits reference = answers_logits(argv[1], items);
  for (int i = 2; i < argc; ++i) print_quality(argv[i], items, reference);
}
