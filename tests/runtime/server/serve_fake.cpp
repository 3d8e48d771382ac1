// The server with an engine that knows a few sentences: for clients.py and other programs that speak its protocols, and
// need no model. Prints the address, and serves until its input ends.
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <thread>

#include "runtime/server/api.h"
#include "runtime/server/http_server.h"
#include "tests/runtime/chat/chat_vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr int64_t kContext = 2048;

struct FakeVocabulary : ChatVocabulary {
  FakeVocabulary() {
    for (const char* mark : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) add(mark, TokenType::control);
  }
};

// One request after another, on a thread of its own, as the engine does.
class SayingGenerator : public Generator {
 public:
  explicit SayingGenerator(const Tokenizer& tokenizer) : tokenizer_(tokenizer), thread_([this] { run(); }) {}
  ~SayingGenerator() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    more_.notify_all();
    thread_.join();
  }

  uint64_t submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) override {
    const Sampler checked(request.sampling);
    const int64_t n = int64_t(request.prompt.size());
    if (n > kContext) throw ContextOverflow(n, kContext);
    const std::lock_guard lock(mutex_);
    waiting_.push_back({++last_, std::move(request), std::move(listener)});
    more_.notify_all();
    return last_;
  }
  void cancel(uint64_t request) override {
    const std::lock_guard lock(mutex_);
    cancelled_ = std::max(cancelled_, request);  // those before it are over
  }
  EngineStatus status() const override {
    const std::lock_guard lock(mutex_);
    return {.waiting = int64_t(waiting_.size()),
            .max_running = 1,
            .max_waiting = 1000,
            .finished = finished_,
            .n_ctx = kContext};
  }

 private:
  struct Waiting {
    uint64_t id;
    GenerationRequest request;
    std::shared_ptr<GenerationListener> listener;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      more_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      const Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      answer(next);
      lock.lock();
      ++finished_;
    }
  }

  bool is_cancelled(uint64_t id) {
    const std::lock_guard lock(mutex_);
    return id == cancelled_;
  }

  void answer(const Waiting& one) {
    const GenerationRequest& request = one.request;
    GenerationSummary summary{
        .prompt_tokens = int64_t(request.prompt.size()), .prefill_seconds = 0.01, .decode_seconds = 0.01};
    const size_t common = size_t(std::ranges::mismatch(request.prompt, before_).in1 - request.prompt.begin());
    summary.cached_tokens = int64_t(std::min(common, request.prompt.size() - 1));
    before_ = request.prompt;
    one.listener->reading(
        {.total = summary.prompt_tokens, .cached = summary.cached_tokens, .done = summary.prompt_tokens});
    const std::string prompt = tokenizer_.decode(request.prompt, true);
    const bool thinks = prompt.ends_with("<think>");
    const bool calls = prompt.find("## Tools") != std::string::npos && !prompt.ends_with("<｜tool▁output▁end｜>");
    const std::string text =
        std::string(thinks ? "They greet me.</think>" : "") +
        (calls ? "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_price<｜tool▁sep｜>{\"product\":  \"apples\"}"
                 "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
               : "Hello there, I am not a model; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.");
    for (const Token token : tokenizer_.encode(text, true)) {
      if (summary.generated_tokens == request.max_tokens) summary.reason = StopReason::max_tokens;
      if (is_cancelled(one.id)) summary.reason = StopReason::interrupted;
      if (summary.reason != StopReason::eos) break;
      GeneratedToken said{.token = token, .logprob = -0.25f};
      for (int k = 0; k < request.n_logprobs; ++k) said.likeliest.push_back({Token(token + k), -0.25f - float(k)});
      ++summary.generated_tokens;
      before_.push_back(token);
      if (!one.listener->token(said)) summary.reason = StopReason::stop_string;
    }
    one.listener->finished(summary);
  }

  const Tokenizer& tokenizer_;
  std::vector<Token> before_;  // what the cache of a real one would have
  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::deque<Waiting> waiting_;
  uint64_t last_ = 0, cancelled_ = 0, finished_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

int main() {
  const GgufMetadata metadata = FakeVocabulary().metadata();
  const Tokenizer tokenizer(metadata);
  const auto chat = choose_chat_template("deepseek-v3.1", metadata, tokenizer);
  SayingGenerator generator(tokenizer);
  auto loading = std::make_shared<server::LoadingState>();
  loading->ready({std::make_shared<server::ServedModel>(server::ServedModel{.id = "fake",
                                                                            .path = "fake.gguf",
                                                                            .version = "hearth-fake",
                                                                            .created = 1700000000,
                                                                            .n_ctx = kContext,
                                                                            .n_vocab = int64_t(tokenizer.size()),
                                                                            .tokenizer = &tokenizer,
                                                                            .chat = &*chat}),
                  &generator});
  server::Api api(loading);
  server::HttpServer http(
      {.port = 0, .error_body = server::api_error_body},
      [&](const server::HttpRequest& request, const std::shared_ptr<server::HttpExchange>& exchange) {
        api.handle(request, exchange);
      });
  std::printf("http://127.0.0.1:%d\n", http.port());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}
