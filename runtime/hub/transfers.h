// Requests over the network, several at a time, by libcurl: one thread, no redirects, no decisions. Certificates are
// verified, always; HTTPS_PROXY, NO_PROXY and the like count as they do for curl, and so do CURL_CA_BUNDLE and
// SSL_CERT_FILE, which name other authorities than the system's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/hub/answer_headers.h"

namespace hearth::hub {

struct ByteRange {
  uint64_t first = 0, last = 0;  // both included
  bool operator==(const ByteRange&) const = default;
};

struct HttpRequest {
  std::string url;
  std::string token;               // "": none is sent
  std::optional<ByteRange> range;  // nothing: the whole
};

struct TransferLimits {
  long connect_seconds = 30;
  long stall_seconds = 30;  // for which less than `stall_bytes` a second come
  long stall_bytes = 1000;
};

// Whoever waits for an answer. What is thrown here comes out of Transfers::run.
class TransferListener {
 public:
  virtual ~TransferListener() = default;
  virtual void head(const HttpHead& head) = 0;  // once, before the first byte
  virtual void body(std::string_view bytes) = 0;
};

struct TransferEnd {
  size_t slot = 0;
  std::string failure;    // "": the answer has come, as long as it said
  bool hopeless = false;  // the failure will not pass: a certificate
};

class Transfers {
 public:
  Transfers(size_t n_slots, const TransferLimits& limits);
  ~Transfers();  // breaks off what runs

  // The listener stays until the slot has ended.
  void begin(size_t slot, const HttpRequest& request, TransferListener& listener);
  // Goes on with all that runs, for `wait_ms` at most, and returns what ended.
  std::vector<TransferEnd> run(int wait_ms);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth::hub
