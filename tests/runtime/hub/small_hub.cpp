#include "tests/runtime/hub/small_hub.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace hearth::test {

namespace {

constexpr size_t kPiece = 16 << 10;

std::string digest(const EVP_MD* algorithm, const std::string& text) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  if (EVP_Digest(text.data(), text.size(), bytes, &n, algorithm, nullptr) != 1) std::abort();
  std::string hex;
  for (unsigned i = 0; i < n; ++i) hex += fmt::format("{:02x}", bytes[i]);
  return hex;
}

}  // namespace

std::string sha256_of(const std::string& text) {
  return digest(EVP_sha256(), text);
}

std::string git_blob_of(const std::string& text) {
  return digest(EVP_sha1(), fmt::format("blob {}", text.size()) + '\0' + text);
}

std::string some_bytes(size_t n, uint32_t seed) {
  std::string bytes(n, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& c : bytes) {
    state = state * 1664525u + 1013904223u;
    c = char(state >> 24);
  }
  return bytes;
}

// A socket, with or without TLS.
class SmallHub::Connection {
 public:
  Connection(int fd, SSL_CTX* tls) : fd_(fd) {
    if (!tls) return;
    ssl_ = SSL_new(tls);
    SSL_set_fd(ssl_, fd);
    good_ = SSL_accept(ssl_) == 1;
  }
  ~Connection() {
    if (ssl_) SSL_free(ssl_);
  }
  Connection(const Connection&) = delete;

  bool good() const { return good_; }
  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const int length = int(std::min(bytes.size(), kPiece));
      const int n =
          ssl_ ? SSL_write(ssl_, bytes.data(), length) : int(::send(fd_, bytes.data(), size_t(length), MSG_NOSIGNAL));
      if (n <= 0) return false;
      bytes.remove_prefix(size_t(n));
    }
    return true;
  }
  // Up to an empty line; "": the client has gone.
  std::string read_head() {
    size_t end = 0;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
      char bytes[4096];
      const int n = ssl_ ? SSL_read(ssl_, bytes, sizeof bytes) : int(recv(fd_, bytes, sizeof bytes, 0));
      if (n <= 0) return "";
      in_.append(bytes, size_t(n));
    }
    std::string head = in_.substr(0, end + 2);
    in_.erase(0, end + 4);
    return head;
  }

 private:
  int fd_;
  SSL* ssl_ = nullptr;
  bool good_ = true;
  std::string in_;
};

SmallHub::SmallHub(SSL_CTX* tls) : tls_(tls) {
  std::signal(SIGPIPE, SIG_IGN);  // clients leave when they like, and TLS writes to them
  listen_on(hub_, false);
  listen_on(content_, true);
}

SmallHub::~SmallHub() {
  stop_ = true;
  for (Listener* listener : {&hub_, &content_}) {
    shutdown(listener->fd, SHUT_RDWR);
    listener->thread.join();
    close(listener->fd);
  }
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : connections_) thread.join();
}

std::string SmallHub::url_of(const Listener& listener, const char* name) const {
  return fmt::format("{}://{}:{}", tls_ ? "https" : "http", name, listener.port);
}

void SmallHub::listen_on(Listener& listener, bool is_content_server) {
  listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.fd, generic, size) != 0 || listen(listener.fd, 64) != 0 ||
      getsockname(listener.fd, generic, &size) != 0)
    throw std::runtime_error("no port on loopback");
  listener.port = ntohs(address.sin_port);
  listener.thread = std::thread([this, fd = listener.fd, is_content_server] {
    for (;;) {
      const int connection = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0 || stop_) {
        if (connection >= 0) close(connection);
        return;
      }
      const int on = 1, buffer = 64 << 10;
      setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      setsockopt(connection, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
      const std::lock_guard lock(mutex_);
      open_.push_back(connection);
      connections_.emplace_back([this, connection, is_content_server] { serve(connection, is_content_server); });
    }
  });
}

void SmallHub::add(const std::string& path, std::string content, bool large) {
  File file{std::move(content), "", "", large};
  file.git_oid = git_blob_of(large ? "pointer to " + path : file.content);
  file.oid = large ? sha256_of(file.content) : file.git_oid;
  files_[path] = std::move(file);
}

std::string SmallHub::tree_of(const std::map<std::string, File>& files) {
  std::string text;
  for (const auto& [path, file] : files) {
    text += fmt::format(R"({}{{"type":"file","oid":"{}","size":{},"path":"{}")", text.empty() ? "[" : ",", file.git_oid,
                        file.content.size(), path);
    if (file.large)
      text += fmt::format(R"(,"lfs":{{"oid":"{}","size":{},"pointerSize":135}})", file.oid, file.content.size());
    text += "}";
  }
  return text.empty() ? "[]" : text + "]";
}

std::vector<HubRequest> SmallHub::requests() {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::vector<HubRequest> SmallHub::requests_of(const std::string& part_of_path) {
  std::vector<HubRequest> found;
  for (const HubRequest& request : requests())
    if (request.path.find(part_of_path) != std::string::npos) found.push_back(request);
  return found;
}

void SmallHub::forget_requests() {
  const std::lock_guard lock(mutex_);
  requests_.clear();
}

void SmallHub::serve(int fd, bool is_content_server) {
  {
    Connection connection(fd, tls_);
    while (connection.good() && !stop_) {
      const std::string head = connection.read_head();
      if (!head.starts_with("GET ")) break;
      HubRequest request;
      request.to_content_server = is_content_server;
      const std::string target = head.substr(4, head.find(' ', 4) - 4);
      const size_t query = std::min(target.find('?'), target.size());
      request.path = target.substr(0, query);
      if (query < target.size()) request.query = target.substr(query + 1);
      for (size_t at = head.find("\r\n") + 2; at < head.size();) {
        const size_t end = head.find("\r\n", at), colon = head.find(':', at);
        std::string name = head.substr(at, colon - at);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return char(std::tolower(c)); });
        request.headers[name] = head.substr(colon + 2, end - colon - 2);
        at = end + 2;
      }
      unsigned long first = 0, last = 0;
      if (std::sscanf(request.headers["range"].c_str(), "bytes=%lu-%lu", &first, &last) == 2)
        request.range = {first, last};
      HubReply reply = answer(request);
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
        if (meddle) meddle(request, reply);
      }
      const bool broken = reply.cut_after || reply.stall_after || reply.headers.contains("Content-Length");
      send(connection, request, std::move(reply));
      if (broken) break;  // without a length, the end of the connection is that of the answer
    }
  }
  const std::lock_guard lock(mutex_);
  open_.erase(std::find(open_.begin(), open_.end(), fd));
  close(fd);
}

HubReply SmallHub::answer(const HubRequest& request) const {
  const std::string api = fmt::format("/api/models/{}/", kRepository);
  const std::string files = fmt::format("/{}/resolve/{}/", kRepository, kCommit);
  if (request.to_content_server) {
    for (const auto& [path, file] : files_) {
      if (!file.large || request.path != "/blob/" + file.oid) continue;
      HubReply reply;
      reply.body = file.content;
      reply.headers["ETag"] = "\"" + file.oid + "\"";
      cut_to_range(reply, request);
      return reply;
    }
  } else if (request.path.starts_with(api + "revision/")) {
    const std::string revision = request.path.substr(api.size() + 9);
    HubReply reply;
    reply.body = fmt::format(R"({{"id":"{}","sha":"{}","private":false}})", kRepository, kCommit);
    if (revision == "main" || revision == kCommit || revision == "refs%2Fpr%2F1") return reply;
    return {404, {{"X-Error-Code", "RevisionNotFound"}, {"X-Error-Message", "Invalid rev id"}}, "{}"};
  } else if (request.path == api + "tree/" + kCommit) {
    return tree_page(request);
  } else if (request.path.starts_with(files)) {
    return resolve(request.path.substr(files.size()), request);
  }
  return {404, {{"X-Error-Code", "RepoNotFound"}}, "{}"};
}

HubReply SmallHub::tree_page(const HubRequest& request) const {
  const size_t cursor = request.query.find("cursor=");
  const size_t first = cursor == std::string::npos ? 0 : std::stoul(request.query.substr(cursor + 7));
  if (files_.size() <= page_size) return {200, {}, tree()};
  std::map<std::string, File> page;
  size_t i = 0;
  for (const auto& [path, file] : files_) {
    if (i >= first && i < first + page_size) page[path] = file;
    ++i;
  }
  HubReply reply{200, {}, tree_of(page)};
  if (first + page_size < files_.size())
    reply.headers["Link"] =
        fmt::format("<{}{}?recursive=true&cursor={}>; rel=\"next\"", endpoint(), request.path, first + page_size);
  return reply;
}

HubReply SmallHub::resolve(const std::string& path, const HubRequest& request) const {
  const auto found = files_.find(path);
  if (found == files_.end()) return {404, {{"X-Error-Code", "EntryNotFound"}}, ""};
  const File& file = found->second;
  HubReply reply;
  reply.headers["X-Repo-Commit"] = kCommit;
  if (file.large) {
    reply.status = 302;
    reply.headers["Location"] = fmt::format("{}/blob/{}?signature=abc", content_server(), file.oid);
    reply.headers["X-Linked-Size"] = std::to_string(file.content.size());
    reply.headers["X-Linked-Etag"] = "\"" + file.oid + "\"";
    return reply;
  }
  reply.headers["ETag"] = "W/\"" + file.oid + "\"";
  reply.body = file.content;
  cut_to_range(reply, request);
  return reply;
}

void SmallHub::cut_to_range(HubReply& reply, const HubRequest& request) {
  if (!request.range) return;
  const uint64_t size = reply.body.size();
  const auto [first, asked_last] = *request.range;
  if (first >= size || first > asked_last) {
    reply = {416, {{"Content-Range", fmt::format("bytes */{}", size)}}, ""};
    return;
  }
  const uint64_t last = std::min(asked_last, size - 1);
  reply.status = 206;
  reply.headers["Content-Range"] = fmt::format("bytes {}-{}/{}", first, last, size);
  reply.body = reply.body.substr(first, last - first + 1);
}

void SmallHub::send(Connection& connection, const HubRequest& request, HubReply reply) {
  std::string head = fmt::format("HTTP/1.1 {} What\r\n", reply.status);
  reply.headers.try_emplace("Content-Length", std::to_string(reply.body.size()));
  for (const auto& [name, value] : reply.headers)
    if (!value.empty()) head += name + ": " + value + "\r\n";
  if (!connection.write(head + "\r\n")) return;
  const std::string_view body = reply.body;
  const size_t end =
      std::min({body.size(), reply.cut_after.value_or(body.size()), reply.stall_after.value_or(body.size())});
  const auto start = std::chrono::steady_clock::now();
  for (size_t at = 0; at < end && !stop_;) {
    const std::string_view piece = body.substr(at, std::min(kPiece, end - at));
    if (!connection.write(piece)) return;
    at += piece.size();
    if (request.to_content_server) body_bytes_sent_ += piece.size();
    if (reply.bytes_per_second)
      std::this_thread::sleep_until(start + std::chrono::microseconds(at * 1'000'000 / reply.bytes_per_second));
  }
  if (reply.stall_after) connection.read_head();  // until the client has had enough
}

}  // namespace hearth::test
