// One client's connection: its requests, one after the other, and their answers. Everything here happens on the
// server's I/O thread; handlers and those who answer are elsewhere, behind HttpAnswer.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "runtime/server/http_answer.h"
#include "runtime/server/http_parser.h"
#include "runtime/server/http_server.h"

namespace hearth::server {

class HttpConnection;

// What all connections of a server share.
struct HttpShared {
  HttpShared(HttpOptions options, HttpHandler handler)
      : options(std::move(options)), handler(std::move(handler)), handlers(size_t(this->options.handler_threads)) {}

  const HttpOptions options;
  const HttpHandler handler;
  boost::asio::io_context io{1};
  std::set<std::shared_ptr<HttpConnection>> connections;
  std::string scratch = std::string(64 << 10, '\0');  // what a read brings
  size_t requests = 0;                                // being read or answered
  std::atomic<size_t> bodies_bytes{0};
  std::atomic<bool> stopping{false};
  // For others to read.
  std::atomic<size_t> n_connections{0}, n_requests{0};
  std::atomic<uint64_t> accepted{0}, closed_for_others{0}, failed_accepts{0}, answered{0}, refused{0};
  boost::asio::thread_pool handlers;  // so that a handler that takes its time holds up nobody's stream
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  HttpConnection(HttpShared& shared, boost::asio::ip::tcp::socket socket);
  void start();
  void tick(Clock::time_point now);  // several times a second: what has taken too long ends
  void finish();                     // closes, after the answer that is being made
  void cut();                        // ends an answer that is being made
  void close();
  // Without a request, since when: may be closed in favour of another.
  std::optional<Clock::time_point> waiting_since() const;

 private:
  enum class State {
    waiting,    // for a request's first byte
    header,     // which is being read
    body,       // which is being read
    answering,  // a handler, or what it started
    lingering,  // for the client to close
    closed,
  };

  void set_state(State state);
  // Reading.
  void read();
  void readable(const boost::system::error_code& error);
  void client_ended();
  void consume();
  void header_complete();
  bool count_body();
  void dispatch();
  // Answering.
  void begin_answer(bool keep_alive);
  void refuse(int status, const std::string& message, const HttpHeaders& headers = {});
  void woken();
  void write();
  void wait_to_write();
  void answered();
  void linger();
  void let_go();

  HttpShared& shared_;
  const HttpLimits& limits_;
  boost::asio::ip::tcp::socket socket_;
  State state_ = State::waiting;
  Clock::time_point since_;  // when the state began
  bool counted_ = false;     // among shared_.requests
  bool fresh_ = true;        // no answer has been given
  bool client_ended_ = false, reading_ = false, writing_ = false;

  std::unique_ptr<HttpParser> parser_;
  std::string in_;            // received and not understood yet: the next request's, mostly
  HttpHeaders headers_;       // which the answer has by the access policy
  size_t counted_bytes_ = 0;  // of the body, in shared_.bodies_bytes

  std::shared_ptr<HttpAnswer> answer_;
  std::string out_;      // taken from the answer
  size_t out_sent_ = 0;  // of it
  bool complete_ = false, watching_ = false;

  // While there is something to receive or to send that the client keeps back: since when, and how many bytes since.
  std::optional<Clock::time_point> slow_since_;
  size_t slow_bytes_ = 0;
};

}  // namespace hearth::server
