#include "runtime/server/http_connection.h"

#include <netinet/tcp.h>
#include <poll.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <exception>

namespace hearth::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// What a client may send ahead while it is being answered. Behind that it is no longer read, only looked at.
constexpr size_t kAhead = 64 << 10;

void set_option(int socket, int level, int name, int value) {
  setsockopt(socket, level, name, &value, sizeof value);  // each of them only improves something
}

// A request on its way through a handler, with the bytes that it counts for.
struct HeldRequest {
  HeldRequest(HttpRequest request, std::atomic<size_t>& counter, size_t bytes)
      : request(std::move(request)), counter(counter), bytes(bytes) {}
  ~HeldRequest() { counter -= bytes; }
  HeldRequest(const HeldRequest&) = delete;
  HeldRequest& operator=(const HeldRequest&) = delete;

  HttpRequest request;
  std::atomic<size_t>& counter;
  const size_t bytes;
};

}  // namespace

HttpConnection::HttpConnection(HttpShared& shared, tcp::socket socket)
    : shared_(shared), limits_(shared.options.limits), socket_(std::move(socket)), since_(Clock::now()) {}

void HttpConnection::start() {
  error_code failed;
  socket_.non_blocking(true, failed);
  if (failed) return close();
  const int fd = socket_.native_handle();
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // a token is sent when it is there
  // A client that vanished without a word is found out within a minute.
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  parser_ = std::make_unique<HttpParser>(limits_.header_bytes, limits_.body_bytes);
  read();
}

void HttpConnection::set_state(State state) {
  state_ = state;
  since_ = Clock::now();
  slow_since_.reset();
  if (state == State::body) slow_since_ = since_, slow_bytes_ = 0;
}

std::optional<HttpConnection::Clock::time_point> HttpConnection::waiting_since() const {
  if (counted_ || state_ == State::closed) return std::nullopt;
  return since_;
}

// --- Reading.

void HttpConnection::read() {
  if (reading_ || client_ended_ || state_ == State::closed) return;
  if (state_ == State::answering && (!watching_ || in_.size() >= kAhead)) return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read,
                     [self = shared_from_this()](const error_code& error) { self->readable(error); });
}

void HttpConnection::readable(const error_code& error) {
  reading_ = false;
  if (state_ == State::closed) return;
  error_code failed = error;
  const size_t n = failed ? 0 : socket_.read_some(asio::buffer(shared_.scratch), failed);
  if (failed == asio::error::would_block || failed == asio::error::interrupted) return read();
  if (failed) return client_ended();
  if (state_ != State::lingering) {
    in_.append(shared_.scratch, 0, n);
    if (state_ == State::body) slow_bytes_ += n;
    consume();
  }
  read();
}

// The client sends nothing more. If its answer is complete it may yet be reading that; else it has left: nothing tells
// one that has only closed its side of the connection from one that is gone.
void HttpConnection::client_ended() {
  client_ended_ = true;
  if (state_ == State::answering) woken();
  if (state_ == State::answering && complete_) return;
  close();
}

void HttpConnection::consume() {
  while (!in_.empty() && (state_ == State::waiting || state_ == State::header || state_ == State::body)) {
    if (state_ == State::waiting) set_state(State::header);
    const size_t taken = parser_->take(in_);
    in_.erase(0, taken);
    const HttpParser::Stage stage = parser_->stage();
    if (stage == HttpParser::Stage::refused) return refuse(parser_->refusal().status, parser_->refusal().message);
    if (stage == HttpParser::Stage::header) return;
    if (state_ == State::header) header_complete();
    if (state_ != State::body || !count_body()) return;
    if (stage == HttpParser::Stage::done) return dispatch();
    if (taken == 0) return;
  }
}

void HttpConnection::header_complete() {
  if (shared_.stopping) return refuse(503, "this server is stopping");
  AccessDecision decision = check_access(shared_.options.access, parser_->request(), parser_->has_body());
  headers_ = std::move(decision.headers);
  if (decision.status != 0) return refuse(decision.status, decision.message);
  if (shared_.requests >= limits_.requests)
    return refuse(503, "this server has as many requests as it takes: try again", {{"Retry-After", "1"}});
  counted_ = true;
  shared_.n_requests = ++shared_.requests;
  set_state(State::body);
  if (!parser_->expects_continue() || !parser_->has_body() || !in_.empty()) return;
  out_ = "HTTP/1.1 100 Continue\r\n\r\n";
  write();
}

bool HttpConnection::count_body() {
  const size_t bytes = parser_->request().body.size() - counted_bytes_;
  counted_bytes_ += bytes;
  if (shared_.bodies_bytes += bytes; shared_.bodies_bytes <= limits_.all_bodies_bytes) return true;
  refuse(503, "the requests that this server is reading are too large together: try again", {{"Retry-After", "1"}});
  return false;
}

void HttpConnection::dispatch() {
  begin_answer(parser_->keeps_alive());
  const auto held = std::make_shared<HeldRequest>(std::move(parser_->request()), shared_.bodies_bytes, counted_bytes_);
  counted_bytes_ = 0;
  ++shared_.answered;
  if (held->request.method == "HEAD") held->request.method = "GET";
  asio::post(shared_.handlers, [&handler = shared_.handler, held, answer = answer_] {
    const auto exchange = exchange_of(answer);
    try {
      handler(held->request, exchange);
    } catch (const std::exception& error) {
      answer->fail(500, error.what());
    } catch (...) {
      answer->fail(500, "a fault of this server");
    }
    answer->handler_returned();
  });
}

// --- Answering.

void HttpConnection::begin_answer(bool keep_alive) {
  AnswerForm form;
  form.path = parser_->request().path;
  form.http_1_1 = parser_->is_http_1_1();
  form.head_only = parser_->request().method == "HEAD";
  form.keep_alive = keep_alive && !shared_.stopping;
  form.headers = headers_;
  // Answers may be kept for longer than connections, which are told apart by `detach`: until then there is a server.
  const auto wake = [&io = shared_.io, weak = weak_from_this()] {
    asio::post(io, [weak] {
      if (const auto self = weak.lock()) self->woken();
    });
  };
  answer_ = std::make_shared<HttpAnswer>(std::move(form), limits_.waiting_bytes, shared_.options.error_body, wake);
  complete_ = watching_ = false;
  set_state(State::answering);
}

void HttpConnection::refuse(int status, const std::string& message, const HttpHeaders& headers) {
  ++shared_.refused;
  // What follows a request that was not read to its end is nobody's.
  begin_answer(parser_->stage() == HttpParser::Stage::done && parser_->keeps_alive());
  if (status == 204)
    answer_->reply({204, "", "", headers});
  else
    answer_->fail(status, message, headers);
  woken();
}

// There is something in the answer, or the state of it has changed.
void HttpConnection::woken() {
  if (!answer_ || state_ != State::answering) return;
  HttpAnswer::Taken taken = answer_->take();
  if (out_sent_ > out_.size() / 2) out_.erase(0, out_sent_), out_sent_ = 0;
  out_ += taken.bytes;
  complete_ = complete_ || taken.complete;
  if (taken.handler_returned && !watching_ && !complete_) {
    watching_ = true;
    read();
  }
  write();
  if (!taken.broken || state_ == State::closed) return;
  if (out_.empty())
    linger();
  else
    close();
}

void HttpConnection::write() {
  while (!writing_ && out_sent_ < out_.size()) {
    error_code failed;
    const size_t n = socket_.write_some(asio::buffer(out_.data() + out_sent_, out_.size() - out_sent_), failed);
    if (failed == asio::error::would_block || failed == asio::error::interrupted) return wait_to_write();
    if (failed) return close();
    out_sent_ += n;
    slow_bytes_ += n;
    if (answer_) answer_->sent(n);
  }
  if (writing_) return;
  out_.clear();
  out_sent_ = 0;
  if (state_ != State::answering) return;
  slow_since_.reset();
  if (complete_) answered();
}

void HttpConnection::wait_to_write() {
  writing_ = true;
  if (!slow_since_) slow_since_ = Clock::now(), slow_bytes_ = 0;
  socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& error) {
    self->writing_ = false;
    if (self->state_ == State::closed) return;
    if (error) return self->close();
    self->write();
  });
}

void HttpConnection::answered() {
  const bool more = answer_->form().keep_alive && !shared_.stopping && !client_ended_;
  let_go();
  if (!more) return linger();
  fresh_ = false;
  parser_ = std::make_unique<HttpParser>(limits_.header_bytes, limits_.body_bytes);
  headers_.clear();
  set_state(State::waiting);
  // Requests that wait in `in_` are not answered from here, where the one before was: there may be a thousand.
  asio::post(shared_.io, [self = shared_from_this()] {
    self->consume();
    self->read();
  });
}

void HttpConnection::let_go() {
  if (answer_) {
    answer_->leave();  // which tells nobody if it is complete
    answer_->detach();
    answer_.reset();
  }
  if (counted_) shared_.n_requests = --shared_.requests;
  counted_ = false;
  shared_.bodies_bytes -= counted_bytes_;
  counted_bytes_ = 0;
}

void HttpConnection::linger() {
  let_go();
  if (client_ended_) return close();
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  in_ = {};
  set_state(State::lingering);
  read();
}

// --- The server's side.

void HttpConnection::tick(Clock::time_point now) {
  const auto age = now - since_;
  if (slow_since_ && now - *slow_since_ > limits_.slow_time) {
    if (slow_bytes_ < limits_.slow_bytes)
      return state_ == State::body ? refuse(408, "the body of the request comes too slowly") : close();
    slow_since_ = now;
    slow_bytes_ = 0;
  }
  if (state_ == State::waiting && age > (fresh_ ? limits_.header_time : limits_.idle_time)) return close();
  if (state_ == State::header && age > limits_.header_time) return refuse(408, "the header comes too slowly");
  if (state_ == State::lingering && age > limits_.linger_time) return close();
  if (state_ == State::answering && watching_ && in_.size() >= kAhead) {
    pollfd look{socket_.native_handle(), POLLRDHUP, 0};
    if (poll(&look, 1, 0) > 0) client_ended();
  }
}

void HttpConnection::finish() {
  if (state_ == State::waiting || state_ == State::header) close();
  if (state_ == State::body) refuse(503, "this server is stopping");
}

void HttpConnection::cut() {
  if (answer_) answer_->cut(503, "this server is stopping");
}

void HttpConnection::close() {
  if (state_ == State::closed) return;
  const auto self = shared_from_this();
  set_state(State::closed);
  let_go();
  error_code ignored;
  socket_.close(ignored);
  shared_.connections.erase(self);
  shared_.n_connections = shared_.connections.size();
}

}  // namespace hearth::server
