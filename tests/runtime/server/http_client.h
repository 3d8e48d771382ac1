// A client that does what the test says and nothing by itself: bytes over a loopback socket.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace hearth::test {

// What a busy machine is given before a test fails.
constexpr std::chrono::seconds kPatience{30};

// Whether `condition` comes true.
inline bool soon(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers = {};  // names in small letters
  std::string body = {};                            // without the sizes of chunks
  bool complete = false;                            // it ended where it said it would
};

class HttpClient {
 public:
  std::chrono::seconds patience = kPatience;

  explicit HttpClient(uint16_t port, const char* address = "127.0.0.1", int receive_buffer = 0) {
    sockaddr_storage to{};
    socklen_t size = sizeof(sockaddr_in);
    auto* v4 = reinterpret_cast<sockaddr_in*>(&to);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&to);
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET, v4->sin_port = htons(port);
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6, v6->sin6_port = htons(port), size = sizeof(sockaddr_in6);
    }
    fd_ = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) throw std::runtime_error("socket");
    if (receive_buffer) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), size) == 0;
  }
  HttpClient(HttpClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_), in_(std::move(other.in_)) {}
  HttpClient& operator=(HttpClient&&) = delete;
  ~HttpClient() { close(); }

  bool connected() const { return connected_; }

  // False once the server has closed, or where it does not read for as long as we are patient.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      if (!ready(POLLOUT)) return false;
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (n < 0) return false;
      bytes.remove_prefix(size_t(n));
    }
    return true;
  }
  void half_close() { shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  // Received until `end` has come, and with it; less if the server closes before.
  std::string until(std::string_view end) {
    size_t at = std::string::npos;
    while ((at = in_.find(end)) == std::string::npos)
      if (!receive()) return std::exchange(in_, {});
    std::string all = in_.substr(0, at + end.size());
    in_.erase(0, all.size());
    return all;
  }
  // All that comes until the server closes.
  std::string rest() {
    while (receive()) {
    }
    return std::exchange(in_, {});
  }
  bool closed() {  // waits for it; false if something comes instead
    return !receive() && in_.empty();
  }
  bool quiet() {  // nothing has come, and the server has not closed
    pollfd look{fd_, POLLIN, 0};
    return in_.empty() && poll(&look, 1, 0) == 0;
  }

  Answer answer(bool to_head = false) {
    Answer answer;
    const std::string head = until("\r\n\r\n");
    if (!head.starts_with("HTTP/1.1 ") || !head.ends_with("\r\n\r\n")) return answer;
    answer.status = std::atoi(head.c_str() + 9);
    for (size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
      const size_t end = head.find("\r\n", at), colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = char(std::tolower(c));
      answer.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (to_head || answer.status == 204 || answer.status == 100) {
      answer.complete = true;
    } else if (answer.headers.contains("content-length")) {
      const size_t length = std::stoull(answer.headers["content-length"]);
      while (in_.size() < length && receive()) {
      }
      answer.complete = in_.size() >= length;
      answer.body = in_.substr(0, length);
      in_.erase(0, length);
    } else if (answer.headers.contains("transfer-encoding")) {
      while (!answer.complete) {
        std::string piece;
        if (!chunk(piece)) break;
        answer.complete = piece.empty();
        answer.body += piece;
      }
    } else {
      answer.body = rest();
      answer.complete = true;
    }
    return answer;
  }
  // One piece of a stream, empty at its end; false where it is cut.
  bool chunk(std::string& piece) {
    const std::string size = until("\r\n");
    if (!size.ends_with("\r\n")) return false;
    const size_t length = std::stoull(size, nullptr, 16) + 2;
    while (in_.size() < length)
      if (!receive()) return false;
    piece = in_.substr(0, length - 2);
    in_.erase(0, length);
    return true;
  }

 private:
  bool ready(short what) {
    pollfd look{fd_, what, 0};
    return poll(&look, 1, int(std::chrono::milliseconds(patience).count())) > 0;
  }
  bool receive() {
    char bytes[16 << 10];
    if (!ready(POLLIN)) throw std::runtime_error("the server neither answers nor closes");
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n > 0) in_.append(bytes, size_t(n));
    return n > 0;
  }

  int fd_ = -1;
  bool connected_ = false;
  std::string in_;
};

inline std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}
inline std::string post(const std::string& path, const std::string& body, const std::string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace hearth::test
