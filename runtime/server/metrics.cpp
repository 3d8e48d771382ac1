#include "runtime/server/metrics.h"

#include <fmt/format.h>

#include <string_view>

namespace hearth::server {

namespace {

// The text exposition format 0.0.4: a help line and a type line per name, then its samples.
class Page {
 public:
  void begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP hearth_{} {}\n# TYPE hearth_{} {}\n", name, help, name, type);
  }
  template <class T>
  void sample(T value, std::string_view labels = {}) {
    text_ += labels.empty() ? fmt::format("hearth_{} {}\n", name_, value)
                            : fmt::format("hearth_{}{{{}}} {}\n", name_, labels, value);
  }
  template <class T>
  void one(std::string_view name, std::string_view type, std::string_view help, T value) {
    begin(name, type, help);
    sample(value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_, name_;
};

constexpr std::string_view kGauge = "gauge", kCounter = "counter";

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

void add_requests(Page& page, const EngineStatus& s) {
  page.begin("requests", kGauge, "Requests at the engine now.");
  page.sample(s.running, "state=\"running\"");
  page.sample(s.waiting, "state=\"waiting\"");
  page.begin("requests_limit", kGauge, "How many there may be.");
  page.sample(s.max_running, "state=\"running\"");
  page.sample(s.max_waiting, "state=\"waiting\"");
  page.begin("requests_total", kCounter, "Requests that the engine is done with.");
  page.sample(s.finished, "result=\"finished\"");
  page.sample(s.cancelled, "result=\"cancelled\"");
  page.sample(s.failed, "result=\"failed\"");
  page.sample(s.refused, "result=\"refused\"");
}

void add_tokens(Page& page, const EngineStatus& s) {
  page.one("prompt_tokens_total", kCounter, "Tokens of prompts, those found in the cache among them.", s.prompt_tokens);
  page.one("prefix_hit_tokens_total", kCounter, "Tokens of prompts that were found in the cache.", s.cached_tokens);
  page.one("generated_tokens_total", kCounter, "Tokens that were sampled.", s.generated_tokens);
  page.one("prefill_seconds_total", kCounter, "Time of the model in prompts.", s.prefill_seconds);
  page.one("decode_seconds_total", kCounter, "Time of the model in answers.", s.decode_seconds);
  page.one("prefill_tokens_per_second", kGauge, "Of all prompts so far.",
           ratio(double(s.prompt_tokens - s.cached_tokens), s.prefill_seconds));
  page.one("decode_tokens_per_second", kGauge, "Of all answers so far, together.",
           ratio(double(s.decode_rows), s.decode_seconds));
  page.one("decode_steps_total", kCounter, "Steps in which answers went on.", s.decode_steps);
  page.one("decode_rows_total", kCounter, "Tokens of all those steps.", s.decode_rows);
}

void add_cache(Page& page, const EngineStatus& s) {
  page.begin("cache_pages", kGauge, "Pages of the latent cache.");
  page.sample(s.used_pages, "state=\"used\"");
  page.sample(s.pages - s.used_pages, "state=\"free\"");
  page.one("cache_kept_pages", kGauge, "Of those used, pages of conversations that nobody runs, once for each.",
           s.kept_pages);
  page.one("cache_page_positions", kGauge, "Positions of a page.", s.page_positions);
  page.one("context_positions", kGauge, "Positions that one conversation may have.", s.n_ctx);
}

void add_experts(Page& page, const EngineStatus& s) {
  page.one("experts_chosen_total", kCounter, "Routed experts that were run, where they are in two memories.",
           s.experts_chosen);
  page.one("expert_cache_hits_total", kCounter, "Of those, on the GPU.", s.experts_on_gpu);
  page.begin("expert_bytes_total", kCounter, "Bytes of experts that were read.");
  page.sample(s.host_bytes, "tier=\"host\"");
  page.sample(s.gpu_bytes, "tier=\"gpu\"");
  page.one("expert_host_seconds_total", kCounter, "Time of the host in experts.", s.host_seconds);
  page.begin("expert_gigabytes_per_second", kGauge, "Speed at which experts were read.");
  page.sample(ratio(double(s.host_bytes), s.host_seconds) / 1e9, "tier=\"host\"");
  page.sample(ratio(double(s.gpu_bytes), s.decode_seconds + s.prefill_seconds) / 1e9, "tier=\"gpu\"");
}

}  // namespace

std::string metrics_text(double loading_progress, const RequestCounts& counts, const EngineStatus* status) {
  Page page;
  page.one("ready", kGauge, "Whether the model is loaded.", status ? 1 : 0);
  page.one("loading_progress", kGauge, "Share of the model that is loaded.", status ? 1.0 : loading_progress);
  page.begin("http_requests_total", kCounter, "Requests by endpoint.");
  for (const auto& [endpoint, n] : counts.by_endpoint) page.sample(n, fmt::format("endpoint=\"{}\"", endpoint));
  page.one("http_requests_refused_total", kCounter, "Requests that were answered with an error at once.",
           counts.refused);
  if (!status) return page.take();
  add_requests(page, *status);
  add_tokens(page, *status);
  add_cache(page, *status);
  add_experts(page, *status);
  return page.take();
}

}  // namespace hearth::server
