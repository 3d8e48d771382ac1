// What the server says: the protocols of OpenAI, Anthropic and llama.cpp over one engine.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "runtime/server/answering.h"
#include "runtime/server/http.h"
#include "runtime/server/metrics.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

struct ApiOptions {
  std::chrono::milliseconds silence{
      5000};                             // after which a stream gets a sign of life; clients wait ten seconds and more
  std::chrono::milliseconds tick{1000};  // how often that is looked at
};

// The body of a refusal for which no endpoint was asked (http_errors.h), in the words that belong to the path.
std::string api_error_body(int status, const std::string& message, const std::string& path);

class Api {
 public:
  explicit Api(std::shared_ptr<const LoadingState> loading, ApiOptions options = {});
  ~Api();  // cuts what is under way
  Api(const Api&) = delete;

  // An HttpHandler. Throws nothing: what goes wrong is answered.
  void handle(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange);

  size_t under_way() const;  // answers that are being generated
  void cut();                // ends them, and their clients are told; who asks from now on is told at once

 private:
  struct Route;

  static const Route* find_route(std::string_view path);
  void answer(const Route& route, const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange);
  void generate(const Route& route, const Serving& serving, const HttpRequest& request,
                const std::shared_ptr<HttpExchange>& exchange);
  HttpResponse while_loading(const Route& route) const;
  HttpResponse health() const;
  HttpResponse metrics() const;
  void count(const Route& route);
  void refuse_with(HttpExchange& exchange, const HttpResponse& response);
  std::vector<std::shared_ptr<Answering>> all_under_way() const;
  void tick_until_stopped();

  std::shared_ptr<const LoadingState> loading_;
  ApiOptions options_;
  mutable std::mutex mutex_;  // of what follows
  RequestCounts counts_;
  std::vector<std::weak_ptr<Answering>> answerings_;
  bool stopping_ = false, cut_ = false;
  std::condition_variable stopped_;
  std::thread ticker_;
};

}  // namespace hearth::server
