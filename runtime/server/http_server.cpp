#include "runtime/server/http_server.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <thread>

#include "quant/error.h"
#include "runtime/server/http_connection.h"

namespace hearth::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr milliseconds kTick{100};
constexpr size_t kOtherFiles = 64;  // which the process keeps open besides connections

// Signals are the main thread's business.
class SignalsElsewhere {
 public:
  SignalsElsewhere() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsElsewhere() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

HttpOptions checked(HttpOptions options) {
  options.access.listens_on = options.host;
  if (options.host.starts_with('[') && options.host.ends_with(']'))
    options.access.listens_on = options.host = options.host.substr(1, options.host.size() - 2);
  options.handler_threads = std::max(options.handler_threads, 1);
  // Beyond what the process may have open, accepting would fail.
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
    const size_t room = std::max<size_t>(files.rlim_cur, 2 * kOtherFiles) - kOtherFiles;
    options.limits.connections = std::min(options.limits.connections, room);
  }
  return options;
}

std::vector<asio::ip::address> addresses_of(const std::string& host) {
  if (host == "localhost") return {asio::ip::address_v4::loopback(), asio::ip::address_v6::loopback()};
  error_code failed;
  const auto address = asio::ip::make_address(host, failed);
  require(!failed, ErrorKind::usage,
          "expected an address to listen on such as 127.0.0.1, ::1, 0.0.0.0 or localhost, "
          "found '{}'",
          host);
  return {address};
}

tcp::acceptor listen_on(asio::io_context& io, const asio::ip::address& address, uint16_t port, error_code& failed) {
  const tcp::endpoint endpoint(address, port);
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), failed);
  if (!failed) acceptor.set_option(tcp::acceptor::reuse_address(true), failed);  // of connections of a server before
  if (!failed && address.is_v6()) acceptor.set_option(asio::ip::v6_only(!address.is_unspecified()), failed);
  if (!failed) acceptor.bind(endpoint, failed);
  if (!failed) acceptor.listen(asio::socket_base::max_listen_connections, failed);
  return acceptor;
}

[[noreturn]] void cannot_listen(const asio::ip::address& address, uint16_t port, const error_code& failed) {
  const std::string where = fmt::format("port {} of {}", port, address.to_string());
  if (failed == asio::error::address_in_use)
    fail(ErrorKind::resource, "{} is in use: expected one that is free", where);
  if (failed == boost::system::errc::address_not_available)
    fail(ErrorKind::resource, "cannot listen on {}: this machine has no such address", where);
  fail(ErrorKind::resource, "cannot listen on {}: {}", where, failed.message());
}

bool no_ipv6(const error_code& failed) {
  return failed == boost::system::errc::address_not_available ||
         failed == boost::system::errc::address_family_not_supported;
}

// One acceptor for each address, all on one port.
std::list<tcp::acceptor> listen(asio::io_context& io, const std::string& host, uint16_t port) {
  const auto addresses = addresses_of(host);
  for (int attempt = 0;; ++attempt) {
    std::list<tcp::acceptor> acceptors;
    uint16_t chosen = port;
    error_code failed;
    for (const auto& address : addresses) {
      tcp::acceptor acceptor = listen_on(io, address, chosen, failed);
      if (failed && !acceptors.empty() && no_ipv6(failed))
        failed = {};
      else if (!failed)
        acceptors.push_back(std::move(acceptor));
      if (failed && (port != 0 || acceptors.empty() || attempt == 20)) cannot_listen(address, chosen, failed);
      if (failed) break;  // the port that is free for one address is not for the other
      chosen = acceptors.front().local_endpoint().port();
    }
    if (!failed) return acceptors;
  }
}

bool out_of_files_or_memory(const error_code& failed) {
  namespace errc = boost::system::errc;
  return failed == errc::too_many_files_open || failed == errc::too_many_files_open_in_system ||
         failed == errc::no_buffer_space || failed == errc::not_enough_memory;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpOptions options, HttpHandler handler) : shared_(checked(std::move(options)), std::move(handler)) {
    acceptors_ = listen(shared_.io, shared_.options.host, shared_.options.port);
    port_ = acceptors_.front().local_endpoint().port();
    for (auto& acceptor : acceptors_) accept(acceptor);
    tick();
    thread_ = std::thread([this] { run(); });
  }
  ~Impl() { stop(milliseconds(0)); }

  uint16_t port() const { return port_; }
  const HttpShared& shared() const { return shared_; }

  void stop(milliseconds deadline) {
    if (!thread_.joinable()) return;
    const auto start = Clock::now();
    asio::post(shared_.io, [this] {
      shared_.stopping = true;
      acceptors_.clear();
      for_all(&HttpConnection::finish);
    });
    // What is cut takes a moment to be sent.
    await_end(start + deadline - std::min<milliseconds>(deadline / 5, milliseconds(500)));
    asio::post(shared_.io, [this] { for_all(&HttpConnection::cut); });
    await_end(start + deadline);
    asio::post(shared_.io, [this] {
      for_all(&HttpConnection::close);
      shared_.io.stop();
    });
    thread_.join();
    shared_.handlers.stop();  // those that have not begun do not
    shared_.handlers.join();
  }

 private:
  void run() {
    for (;;) {
      try {
        shared_.io.run();
        return;
      } catch (const std::exception&) {
        // No memory for one connection: the others go on, and its own time runs out.
      }
    }
  }

  void await_end(Clock::time_point until) const {
    while (!(shared_.stopping && shared_.n_connections == 0) && Clock::now() < until)
      std::this_thread::sleep_for(milliseconds(2));
  }

  void for_all(void (HttpConnection::*act)()) {
    const auto all = shared_.connections;  // which closing changes
    for (const auto& connection : all) (connection.get()->*act)();
  }

  void accept(tcp::acceptor& acceptor) {
    acceptor.async_accept([this, &acceptor](const error_code& failed, tcp::socket socket) {
      if (shared_.stopping) return;
      if (failed && out_of_files_or_memory(failed)) return make_room_and_accept(acceptor);
      if (!failed) add(std::move(socket));
      accept(acceptor);
    });
  }

  // Trying again at once would only keep a core busy.
  void make_room_and_accept(tcp::acceptor& acceptor) {
    ++shared_.failed_accepts;
    close_longest_waiting();
    auto pause = std::make_shared<asio::steady_timer>(shared_.io, kTick);
    pause->async_wait([this, pause, &acceptor](const error_code&) {
      if (!shared_.stopping) accept(acceptor);
    });
  }

  void add(tcp::socket socket) {
    ++shared_.accepted;
    if (shared_.connections.size() >= shared_.options.limits.connections && !close_longest_waiting()) {
      ++shared_.closed_for_others;
      return;  // all are busy: this one is closed
    }
    const auto connection = std::make_shared<HttpConnection>(shared_, std::move(socket));
    shared_.connections.insert(connection);
    shared_.n_connections = shared_.connections.size();
    connection->start();
  }

  bool close_longest_waiting() {
    std::shared_ptr<HttpConnection> longest;
    for (const auto& connection : shared_.connections) {
      const auto since = connection->waiting_since();
      if (since && (!longest || *since < *longest->waiting_since())) longest = connection;
    }
    if (!longest) return false;
    ++shared_.closed_for_others;
    longest->close();
    return true;
  }

  void tick() {
    timer_.expires_after(kTick);
    timer_.async_wait([this](const error_code& failed) {
      if (failed) return;
      const auto all = shared_.connections;
      for (const auto& connection : all) connection->tick(Clock::now());
      tick();
    });
  }

  HttpShared shared_;
  std::list<tcp::acceptor> acceptors_;
  asio::steady_timer timer_{shared_.io};
  uint16_t port_ = 0;
  std::thread thread_;
};

HttpServer::HttpServer(HttpOptions options, HttpHandler handler) {
  const SignalsElsewhere from_threads_that_begin_here;
  impl_ = std::make_unique<Impl>(std::move(options), std::move(handler));
}
HttpServer::~HttpServer() = default;

uint16_t HttpServer::port() const {
  return impl_->port();
}

HttpStatus HttpServer::status() const {
  const HttpShared& shared = impl_->shared();
  return {shared.n_connections,  shared.n_requests, shared.accepted, shared.closed_for_others,
          shared.failed_accepts, shared.answered,   shared.refused};
}

void HttpServer::stop(milliseconds deadline) {
  impl_->stop(deadline);
}

}  // namespace hearth::server
