// One request's answer between those who make it, on any thread, and the connection that carries it away, on another:
// bytes that wait, and how it stands. Knows how an answer is written down and nothing of sockets.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/server/http.h"
#include "runtime/server/http_errors.h"

namespace hearth::server {

// What of the request decides how its answer is written.
struct AnswerForm {
  std::string path = {};
  bool http_1_1 = true;      // else pieces have no sizes: they end where the connection does
  bool head_only = false;    // the request was HEAD
  bool keep_alive = true;    // another request may follow
  HttpHeaders headers = {};  // for every answer to this request
};

// The first lines of an answer, with those headers that every answer has unless `headers` or the form say otherwise.
// `length`: of the body; none: it comes in pieces.
std::string answer_head(const AnswerForm& form, int status, const std::string& content_type,
                        std::optional<size_t> length, const HttpHeaders& headers);

class HttpAnswer {
 public:
  // `max_waiting`: bytes of pieces that the client has not taken. `wake` tells the connection that there is something
  // to `take`; it is called under a lock, so it only passes the word on.
  HttpAnswer(AnswerForm form, size_t max_waiting, ErrorBody error_body, std::function<void()> wake);

  // --- For those who answer: see HttpExchange.
  void reply(HttpResponse response);
  void begin(int status, const std::string& content_type, const HttpHeaders& headers);
  void send(const std::string& piece);
  void end();
  void when_left(std::function<void()> told);
  // An answer with an error if none was begun; else what was begun ends in the middle, which the client sees.
  void fail(int status, const std::string& message, const HttpHeaders& headers = {});
  // The handler is done with the request, if not with its answer.
  void handler_returned();

  // --- For the connection.
  struct Taken {
    std::string bytes;              // to be sent
    bool complete = false;          // nothing follows them
    bool broken = false;            // nothing follows, although the answer is not complete: cut the connection
    bool handler_returned = false;  // from now on the client's leaving is to be looked for
  };
  Taken take();
  void sent(size_t bytes);  // of those taken
  void leave();             // the client has left
  // The server stops: as `fail`, and whoever waits for the client to leave is told.
  void cut(int status, const std::string& message);
  void detach();  // the connection is gone: nobody is to be woken
  const AnswerForm& form() const { return form_; }

 private:
  bool open() const { return !complete_ && !broken_ && !left_; }
  void add_head(int status, const std::string& content_type, std::optional<size_t> length, const HttpHeaders& headers);
  void wake();

  const AnswerForm form_;
  const size_t max_waiting_;
  const ErrorBody error_body_;

  std::mutex mutex_;  // of all that follows
  std::function<void()> wake_, told_;
  std::string bytes_;
  size_t taken_ = 0;  // bytes that were taken and not sent
  bool begun_ = false, complete_ = false, broken_ = false, left_ = false, cut_ = false;
  bool returned_ = false, woken_ = false;
};

// The handlers' face of it. Whoever drops the last one without having answered has answered 500.
std::shared_ptr<HttpExchange> exchange_of(std::shared_ptr<HttpAnswer> answer);

}  // namespace hearth::server
