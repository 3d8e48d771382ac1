#include "runtime/server/api.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/api_error.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/page.h"

namespace hearth::server {

struct Api::Route {
  enum class Kind { page, health, metrics, models, model, properties, at_once, generated };

  std::string_view method, path;  // a path that ends with / stands for all that begin with it
  Kind kind;
  Json (*told)(const Serving&, const Fields&) = nullptr;          // at_once
  AskedAnswer (*asked)(const Serving&, const Fields&) = nullptr;  // generated
  Dialect dialect = Dialect::openai;
};

namespace {

constexpr int kRetryLoading = 5;  // seconds

HttpResponse json_response(const Json& json) {
  return {.body = to_text(json)};
}

Dialect dialect_of(std::string_view path) {
  return path.starts_with("/v1/messages") ? Dialect::anthropic : Dialect::openai;
}

// Every choice is a request of its own at the engine. More than it ever takes would be told to come again in vain.
void require_room(const Generator& generator, const AnswerTask& task) {
  const EngineStatus status = generator.status();
  const int64_t most = status.max_running + status.max_waiting;
  if (int64_t(task.n_choices()) > most)
    refuse_text(task.n > 1 ? "n" : "prompt",
                fmt::format("expected at most {} choices of all prompts, as many as this server has at once, found {}",
                            most, task.n_choices()));
}

}  // namespace

std::string api_error_body(int status, const std::string& message, const std::string& path) {
  return to_text(error_json(dialect_of(path), ApiError(status, message)));
}

const Api::Route* Api::find_route(std::string_view path) {
  using enum Route::Kind;
  static constexpr Route kRoutes[] = {
      {"GET", "/", page},
      {"GET", "/health", health},
      {"GET", "/metrics", metrics},
      {"GET", "/v1/models", models},
      {"GET", "/v1/models/", model},
      {"GET", "/props", properties},
      {"POST", "/v1/chat/completions", generated, nullptr, ask_chat_completion},
      {"POST", "/v1/completions", generated, nullptr, ask_completion},
      {"POST", "/v1/responses", generated, nullptr, ask_response},
      {"POST", "/v1/messages", generated, nullptr, ask_message, Dialect::anthropic},
      {"POST", "/v1/messages/count_tokens", at_once, count_message_tokens, nullptr, Dialect::anthropic},
      {"POST", "/infill", generated, nullptr, ask_infill},
      {"POST", "/tokenize", at_once, tokenize},
      {"POST", "/detokenize", at_once, detokenize},
      {"POST", "/apply-template", at_once, apply_template},
      {"POST", "/v1/embeddings", at_once, refuse_embeddings},
  };
  for (const Route& route : kRoutes)
    if (path == route.path || (route.kind == model && path.starts_with(route.path)) ||
        (route.kind == page && find_page_file(path)))
      return &route;
  return nullptr;
}

Api::Api(std::shared_ptr<const LoadingState> loading, ApiOptions options)
    : loading_(std::move(loading)), options_(options), ticker_([this] { tick_until_stopped(); }) {}

Api::~Api() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  ticker_.join();
  cut();
}

void Api::handle(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  const Route* route = find_route(request.path);
  const Dialect dialect = dialect_of(request.path);
  if (!route) {
    const ApiError error(404, fmt::format("there is no {}", request.path.substr(0, 200)));
    return refuse_with(*exchange, error_response(dialect, error));
  }
  count(*route);
  if (request.method != route->method) {
    ApiError error(405, fmt::format("{} takes {} only", route->path, route->method));
    error.headers = {{"Allow", std::string(route->method)}};
    return refuse_with(*exchange, error_response(dialect, error));
  }
  try {
    answer(*route, request, exchange);
  } catch (...) {
    refuse_with(*exchange, error_response(dialect, current_error(dialect)));
  }
}

void Api::answer(const Route& route, const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  using enum Route::Kind;
  if (route.kind == page)
    return exchange->reply(page_response(*find_page_file(request.path), request.header("if-none-match")));
  if (route.kind == health) return exchange->reply(this->health());
  if (route.kind == metrics) return exchange->reply(this->metrics());
  const Serving serving = loading_->serving();
  if (!serving.model) return refuse_with(*exchange, while_loading(route));
  switch (route.kind) {
    case models:
      return exchange->reply(json_response(list_models(*serving.model)));
    case model:
      return exchange->reply(
          json_response(describe_model(*serving.model, std::string_view(request.path).substr(route.path.size()))));
    case properties:
      return exchange->reply(json_response(server::properties(serving)));
    case at_once: {
      const Json body = parse_body(request.body);
      return exchange->reply(json_response(route.told(serving, Fields(body))));
    }
    default:
      generate(route, serving, request, exchange);
  }
}

void Api::generate(const Route& route, const Serving& serving, const HttpRequest& request,
                   const std::shared_ptr<HttpExchange>& exchange) {
  const Json body = parse_body(request.body);
  AskedAnswer asked = route.asked(serving, Fields(body));
  require_room(*serving.generator, asked.task);
  const auto answering = std::make_shared<Answering>(serving, std::move(asked), exchange);
  {
    const std::lock_guard lock(mutex_);
    if (cut_) throw ApiError(503, "the server ends");
    answerings_.push_back(answering);
  }
  answering->start();
}

HttpResponse Api::health() const {
  if (loading_->serving().model) return json_response({{"status", "ok"}});
  HttpResponse response = json_response({{"status", "loading"}, {"progress", loading_->progress()}});
  response.status = 503;
  response.headers = {{"Retry-After", std::to_string(kRetryLoading)}};
  return response;
}

HttpResponse Api::while_loading(const Route& route) const {
  const double progress = loading_->progress();
  ApiError error(503, fmt::format("the model is loading: {:.0f} % so far", 100 * progress));
  error.code = "model_loading";
  error.headers = {{"Retry-After", std::to_string(kRetryLoading)}};
  Json json = error_json(route.dialect, error);
  json["error"]["progress"] = progress;
  return {.status = 503, .body = to_text(json), .headers = error.headers};
}

HttpResponse Api::metrics() const {
  RequestCounts counts;
  {
    const std::lock_guard lock(mutex_);
    counts = counts_;
  }
  const Serving serving = loading_->serving();
  EngineStatus status;
  if (serving.generator) status = serving.generator->status();
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = metrics_text(loading_->progress(), counts, serving.generator ? &status : nullptr)};
}

void Api::count(const Route& route) {
  const std::lock_guard lock(mutex_);
  ++counts_.by_endpoint[std::string(route.path)];
}

void Api::refuse_with(HttpExchange& exchange, const HttpResponse& response) {
  {
    const std::lock_guard lock(mutex_);
    ++counts_.refused;
  }
  exchange.reply(response);
}

std::vector<std::shared_ptr<Answering>> Api::all_under_way() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Answering>> all;
  for (const auto& answering : answerings_)
    if (auto alive = answering.lock()) all.push_back(std::move(alive));
  return all;
}

size_t Api::under_way() const {
  return all_under_way().size();
}

void Api::cut() {
  {
    const std::lock_guard lock(mutex_);
    cut_ = true;
  }
  for (const auto& answering : all_under_way()) answering->cut();
}

void Api::tick_until_stopped() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, options_.tick, [&] { return stopping_; })) {
    std::erase_if(answerings_, [](const auto& answering) { return answering.expired(); });
    lock.unlock();
    for (const auto& answering : all_under_way()) answering->tick(options_.silence);
    lock.lock();
  }
}

}  // namespace hearth::server
