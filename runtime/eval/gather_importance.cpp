#include "runtime/eval/gather_importance.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/error.h"
#include "runtime/eval/windows.h"

namespace hearth {
namespace {

constexpr size_t kLogitBytes = size_t(64) << 20;  // logits held at once

double log_likelihood(std::span<const float> logits, Token next) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) - largest);
  return double(logits[size_t(next)]) - largest - std::log(sum);
}

}  // namespace

Gathered gather_importance(Model& model, std::span<const Token> tokens, InputSums& sums, const GatherOptions& options) {
  const int64_t last = options.most > 0 ? options.first + options.most : 0;
  const Windows chunks = cut_windows(tokens, options.n_ctx, last, options.bos);
  require(options.first < chunks.count(), ErrorKind::usage,
          "{} chunks are to be left out: expected fewer than the {} of {} tokens that the text has", options.first,
          chunks.count(), chunks.size);
  const int64_t V = model.config().vocab_size;
  const int64_t at_once = std::clamp<int64_t>(int64_t(kLogitBytes / (size_t(V) * sizeof(float))), 1, chunks.size);
  std::vector<float> logits(size_t(at_once * V));
  KvCache cache = model.new_cache();
  Gathered out = {.of = chunks.count() - options.first, .chunk = chunks.size};
  double likelihood = 0;
  const auto go_on = [&](const RunProgress&) { return !options.stop_now || !options.stop_now(); };
  for (; out.chunks < out.of; ++out.chunks) {
    const std::span<const Token> chunk = chunks.window(options.first + out.chunks);
    double in_chunk = 0;
    cache.truncate(0);
    for (int64_t t = 0; t < chunks.size; t += at_once) {
      const int64_t n = std::min(at_once, chunks.size - t);
      const std::span<float> rows = std::span(logits).first(size_t(n * V));
      if (!model.run(chunk.subspan(size_t(t), size_t(n)), cache, rows, true, go_on)) return out;
      sums.require_finite();
      for (int64_t i = 0; i < n && t + i + 1 < chunks.size; ++i) {
        in_chunk += log_likelihood(rows.subspan(size_t(i * V), size_t(V)), chunk[size_t(t + i + 1)]);
      }
    }
    likelihood += in_chunk;
    out.perplexity = std::exp(-likelihood / double((out.chunks + 1) * (chunks.size - 1)));
    if (options.progress) options.progress(out.chunks + 1, out.of, out.perplexity);
  }
  return out;
}

}  // namespace hearth
