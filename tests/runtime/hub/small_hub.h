// A hub on loopback that speaks as much of Hugging Face's API as a client needs, and that a test can make lie: large
// files come from a content server of another name and port, as from Hugging Face's.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using SSL_CTX = struct ssl_ctx_st;

namespace hearth::test {

struct HubRequest {
  std::string path;                            // without the query
  std::string query;                           // behind "?"
  std::map<std::string, std::string> headers;  // names in small letters
  bool to_content_server = false;
  std::optional<std::pair<uint64_t, uint64_t>> range = {};  // first and last byte asked for
};

struct HubReply {
  int status = 200;
  std::map<std::string, std::string> headers = {};  // one without a value is left out
  std::string body = {};
  // What goes wrong on the way. Bytes of the body, after which ...
  std::optional<size_t> cut_after = {};    // ... the connection is closed
  std::optional<size_t> stall_after = {};  // ... nothing more comes
  uint64_t bytes_per_second = 0;           // 0: as fast as it goes
};

class SmallHub {
 public:
  static constexpr const char* kRepository = "lab/Tiny-Chat";
  static constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

  explicit SmallHub(SSL_CTX* tls = nullptr);  // with it, speaks https
  ~SmallHub();
  SmallHub(const SmallHub&) = delete;

  // A file of the repository. `large`: by the content server, with a SHA-256.
  void add(const std::string& path, std::string content, bool large = true);
  std::string oid(const std::string& path) const { return files_.at(path).oid; }
  const std::string& content(const std::string& path) const { return files_.at(path).content; }
  std::string tree() const { return tree_of(files_); }  // what the API says of all files

  // Looks at each request and may change what is answered. Set before the first request; called by several threads, one
  // at a time.
  std::function<void(const HubRequest&, HubReply&)> meddle;
  size_t page_size = 1000;  // files on a page of the list

  std::string endpoint() const { return url_of(hub_, "127.0.0.1"); }
  std::string content_server() const { return url_of(content_, "localhost"); }
  std::vector<HubRequest> requests();
  std::vector<HubRequest> requests_of(const std::string& part_of_path);
  uint64_t body_bytes_sent() const { return body_bytes_sent_; }  // by the content server
  void forget_requests();

 private:
  struct File {
    std::string content, oid, git_oid;
    bool large;
  };
  struct Listener {
    int fd = -1;
    uint16_t port = 0;
    std::thread thread;
  };
  class Connection;

  static std::string tree_of(const std::map<std::string, File>& files);
  std::string url_of(const Listener& listener, const char* name) const;
  void listen_on(Listener& listener, bool is_content_server);
  void serve(int fd, bool is_content_server);
  HubReply answer(const HubRequest& request) const;
  HubReply tree_page(const HubRequest& request) const;
  HubReply resolve(const std::string& path, const HubRequest& request) const;
  static void cut_to_range(HubReply& reply, const HubRequest& request);
  void send(Connection& connection, const HubRequest& request, HubReply reply);

  SSL_CTX* tls_;
  std::map<std::string, File> files_;
  Listener hub_, content_;
  std::mutex mutex_;
  std::vector<HubRequest> requests_;
  std::list<std::thread> connections_;
  std::vector<int> open_;  // their sockets
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> body_bytes_sent_ = 0;
};

// The SHA-256 of a text, and the name that git gives it.
std::string sha256_of(const std::string& text);
std::string git_blob_of(const std::string& text);

// Bytes that differ from place to place, the same for the same seed.
std::string some_bytes(size_t n, uint32_t seed);

}  // namespace hearth::test
