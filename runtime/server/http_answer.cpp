#include "runtime/server/http_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iomanip>
#include <locale>
#include <sstream>
#include <string_view>

#include "runtime/server/http_parser.h"
#include "runtime/server/http_text.h"

namespace hearth::server {

namespace {

bool has(const HttpHeaders& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(),
                     [&](const auto& header) { return small_letters(header.first) == small_letters(name); });
}

// A value may quote what a client sent, which must not begin another header.
std::string one_line(std::string value) {
  for (char& c : value)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return value;
}

std::string date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << std::put_time(&utc, "%a, %d %b %Y %H:%M:%S GMT");
  return text.str();
}

bool has_no_body(int status) {
  return status == 204 || status == 304;
}

}  // namespace

std::string answer_head(const AnswerForm& form, int status, const std::string& content_type,
                        std::optional<size_t> length, const HttpHeaders& headers) {
  HttpHeaders all = headers;
  const auto add = [&](const char* name, const std::string& value) {
    if (!has(headers, name)) all.emplace_back(name, value);
  };
  for (const auto& [name, value] : form.headers) add(name.c_str(), value);
  if (!has_no_body(status)) add("Content-Type", content_type);
  add("X-Content-Type-Options", "nosniff");
  add("Referrer-Policy", "no-referrer");
  add("Cache-Control", "no-store");
  add("Date", date());
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", status, http_reason(status));
  for (const auto& [name, value] : all) head += one_line(name) + ": " + one_line(value) + "\r\n";
  // These say where the answer ends, which is not for others to decide.
  if (length && !has_no_body(status)) head += fmt::format("Content-Length: {}\r\n", *length);
  if (!length && form.http_1_1 && !has_no_body(status)) head += "Transfer-Encoding: chunked\r\n";
  if (!form.keep_alive) head += "Connection: close\r\n";
  return head + "\r\n";
}

HttpAnswer::HttpAnswer(AnswerForm form, size_t max_waiting, ErrorBody error_body, std::function<void()> wake)
    : form_(std::move(form)), max_waiting_(max_waiting), error_body_(std::move(error_body)), wake_(std::move(wake)) {}

void HttpAnswer::wake() {
  if (wake_ && !woken_) wake_();
  woken_ = true;  // until it takes: many pieces are one word
}

void HttpAnswer::add_head(int status, const std::string& content_type, std::optional<size_t> length,
                          const HttpHeaders& headers) {
  begun_ = true;
  bytes_ += answer_head(form_, status, content_type, length, headers);
  complete_ = form_.head_only || has_no_body(status);
}

void HttpAnswer::reply(HttpResponse response) {
  std::function<void()> no_longer_told;  // is destroyed when the lock is free
  const std::lock_guard lock(mutex_);
  if (!open() || begun_) return;
  add_head(response.status, response.content_type, response.body.size(), response.headers);
  if (!complete_) bytes_ += response.body;
  complete_ = true;
  std::swap(told_, no_longer_told);
  wake();
}

void HttpAnswer::begin(int status, const std::string& content_type, const HttpHeaders& headers) {
  std::function<void()> no_longer_told;
  const std::lock_guard lock(mutex_);
  if (!open() || begun_) return;
  add_head(status, content_type, std::nullopt, headers);
  if (complete_) std::swap(told_, no_longer_told);
  wake();
}

void HttpAnswer::send(const std::string& piece) {
  const std::lock_guard lock(mutex_);
  if (!open() || !begun_ || piece.empty()) return;
  if (piece.size() + bytes_.size() + taken_ > max_waiting_) {
    broken_ = true;
    bytes_ = {};
  } else if (form_.http_1_1) {
    bytes_ += fmt::format("{:x}\r\n", piece.size());
    bytes_ += piece;
    bytes_ += "\r\n";
  } else {
    bytes_ += piece;
  }
  wake();
}

void HttpAnswer::end() {
  std::function<void()> no_longer_told;
  const std::lock_guard lock(mutex_);
  if (!open() || !begun_) return;
  if (form_.http_1_1) bytes_ += "0\r\n\r\n";
  complete_ = true;
  std::swap(told_, no_longer_told);
  wake();
}

void HttpAnswer::when_left(std::function<void()> told) {
  {
    const std::lock_guard lock(mutex_);
    if (!left_ && !cut_) {
      if (!complete_) told_ = std::move(told);
      return;
    }
  }
  told();
}

void HttpAnswer::fail(int status, const std::string& message, const HttpHeaders& headers) {
  {
    const std::lock_guard lock(mutex_);
    if (!open()) return;
    if (begun_) {
      broken_ = true;
      return wake();
    }
  }
  reply({status, "application/json", error_body_(status, message, form_.path), headers});
}

void HttpAnswer::handler_returned() {
  const std::lock_guard lock(mutex_);
  returned_ = true;
  wake();
}

HttpAnswer::Taken HttpAnswer::take() {
  const std::lock_guard lock(mutex_);
  Taken taken{std::move(bytes_), complete_, broken_, returned_};
  bytes_ = {};
  taken_ += taken.bytes.size();
  woken_ = false;
  return taken;
}

void HttpAnswer::sent(size_t bytes) {
  const std::lock_guard lock(mutex_);
  taken_ -= std::min(taken_, bytes);
}

void HttpAnswer::leave() {
  std::function<void()> told;
  {
    const std::lock_guard lock(mutex_);
    if (complete_ || left_) return;
    left_ = true;
    bytes_ = {};
    std::swap(told_, told);
  }
  if (told) told();
}

void HttpAnswer::cut(int status, const std::string& message) {
  std::function<void()> told;
  {
    const std::lock_guard lock(mutex_);
    if (!open()) return;
    cut_ = true;
    std::swap(told_, told);
  }
  fail(status, message);
  if (told) told();
}

void HttpAnswer::detach() {
  std::function<void()> no_longer_woken;
  const std::lock_guard lock(mutex_);
  std::swap(wake_, no_longer_woken);
}

namespace {

class Exchange final : public HttpExchange {
 public:
  explicit Exchange(std::shared_ptr<HttpAnswer> answer) : answer_(std::move(answer)) {}
  ~Exchange() override { answer_->fail(500, "nobody answered this request: a fault of this server"); }

  void reply(HttpResponse response) override { answer_->reply(std::move(response)); }
  void begin(int status, const std::string& content_type, const HttpHeaders& headers) override {
    answer_->begin(status, content_type, headers);
  }
  void send(std::string piece) override { answer_->send(piece); }
  void end() override { answer_->end(); }
  void when_left(std::function<void()> told) override { answer_->when_left(std::move(told)); }

 private:
  std::shared_ptr<HttpAnswer> answer_;
};

}  // namespace

std::shared_ptr<HttpExchange> exchange_of(std::shared_ptr<HttpAnswer> answer) {
  return std::make_shared<Exchange>(std::move(answer));
}

}  // namespace hearth::server
