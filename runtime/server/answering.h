// One request while it is answered: its choices at the engine, its client at the other end.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/server/answer_task.h"
#include "runtime/server/http.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// The engine keeps it alive until every choice is over. Three sides call it, each on threads of its own: the engine
// with tokens, the server when the client leaves, and whoever ticks.
class Answering : public std::enable_shared_from_this<Answering> {
 public:
  using Clock = std::chrono::steady_clock;

  Answering(Serving serving, AskedAnswer asked, std::shared_ptr<HttpExchange> exchange);

  // Hands the choices to the engine. Throws what Generator::submit throws, and then nothing was answered.
  void start();
  // Sends a sign of life where nothing was sent for `silence`: clients and proxies give up on those who say nothing
  // while a long prompt is read.
  void tick(std::chrono::milliseconds silence);
  // The server ends: what is under way is cut short, and the client is told.
  void cut();

 private:
  class Listener;

  void add_choice(size_t index);
  void reading(size_t index, const ReadingProgress& progress);
  void call(size_t index, const CallEvent& event);
  bool token(size_t index, const GeneratedToken& token);
  void finished(size_t index, const GenerationSummary& summary);
  void failed(const ApiError& error);

  void drop_stop_string(size_t index);
  std::span<const GeneratedToken> unwritten(size_t index);
  void write(const std::string& text);
  void open();
  void complete();
  void end();
  bool abandon();
  void remember(uint64_t request);
  void cancel_all();

  Serving serving_;
  AnswerTask task_;
  std::unique_ptr<AnswerWriter> writer_;
  std::shared_ptr<HttpExchange> exchange_;

  std::mutex mutex_;
  std::vector<Choice> choices_;
  std::vector<Answer> answers_;             // of the choices
  std::vector<size_t> n_written_;           // of their logged tokens
  std::vector<size_t> n_of_text_;           // of their logged tokens, up to the last one that added to the text
  std::vector<std::vector<Token>> tokens_;  // of each answer, where the model may call
  size_t n_over_ = 0;
  bool opened_ = false;  // every choice is at the engine: until then nothing is sent, as the next may be refused
  bool over_ = false;    // nothing more is sent
  bool ended_ = false;   // while not opened: over, all the same
  std::string held_;     // while not opened
  Clock::time_point last_sent_;

  // Apart, as the exchange may call back while mutex_ is held.
  std::mutex requests_mutex_;
  std::vector<uint64_t> requests_;
  bool cancelled_ = false;
};

}  // namespace hearth::server
