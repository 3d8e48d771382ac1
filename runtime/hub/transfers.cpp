#include "runtime/hub/transfers.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <exception>
#include <utility>

#include "quant/error.h"
#include "runtime/hub/one_line.h"

namespace hearth::hub {
namespace {

constexpr size_t kMostHeaderBytes = 64 << 10;

struct Slot {
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  TransferListener* listener = nullptr;
  HttpHead head;
  size_t header_bytes = 0;
  bool told = false;  // of the head
  std::exception_ptr thrown;
  char error[CURL_ERROR_SIZE] = {};

  void drop_headers() {
    curl_slist_free_all(headers);
    headers = nullptr;
  }
};

void use_libcurl() {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  require(ready, ErrorKind::resource, "libcurl cannot be used");
}

// One line of a head. Several heads come one after another where 1xx or a proxy's precede: the last one counts.
void read_header(Slot& slot, std::string_view line) {
  slot.header_bytes += line.size();
  require(slot.header_bytes <= kMostHeaderBytes, ErrorKind::format,
          "the hub answers with more than {} bytes of headers", kMostHeaderBytes);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    slot.head = {};
    return;
  }
  if (line.empty()) {
    long status = 0;
    curl_easy_getinfo(slot.easy, CURLINFO_RESPONSE_CODE, &status);
    slot.head.status = int(status);
    if (status < 200 || slot.told) return;
    slot.told = true;
    slot.listener->head(slot.head);
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  line.remove_prefix(colon + 1);
  const size_t first = line.find_first_not_of(" \t");
  slot.head.headers[name] = first == std::string_view::npos ? "" : std::string(line.substr(first));
}

// libcurl is C: nothing may be thrown through it.
template <class Action>
size_t guarded(Slot& slot, size_t n, Action action) {
  try {
    action();
    return n;
  } catch (...) {
    slot.thrown = std::current_exception();
    return n == 0 ? 1 : 0;  // anything but n breaks the transfer off
  }
}

size_t on_header(char* bytes, size_t one, size_t n, void* slot_pointer) {
  Slot& slot = *static_cast<Slot*>(slot_pointer);
  return guarded(slot, one * n, [&] { read_header(slot, {bytes, one * n}); });
}

size_t on_body(char* bytes, size_t one, size_t n, void* slot_pointer) {
  Slot& slot = *static_cast<Slot*>(slot_pointer);
  return guarded(slot, one * n, [&] { slot.listener->body({bytes, one * n}); });
}

bool is_hopeless(CURLcode code) {
  constexpr CURLcode kHopeless[] = {CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ENGINE_NOTFOUND,
                                    CURLE_UNSUPPORTED_PROTOCOL,     CURLE_URL_MALFORMAT,      CURLE_OUT_OF_MEMORY};
  return std::find(std::begin(kHopeless), std::end(kHopeless), code) != std::end(kHopeless);
}

}  // namespace

class Transfers::Impl {
 public:
  Impl(size_t n_slots, const TransferLimits& limits) : slots_(n_slots) {
    use_libcurl();
    multi_ = curl_multi_init();
    require(multi_ != nullptr, ErrorKind::resource, "libcurl cannot be used");
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, long(n_slots) + 2);
    for (Slot& slot : slots_) {
      slot.easy = curl_easy_init();
      require(slot.easy != nullptr, ErrorKind::resource, "libcurl cannot be used");
      set_up(slot, limits);
    }
  }
  Impl(const Impl&) = delete;
  ~Impl() {
    for (Slot& slot : slots_) {
      if (slot.listener) curl_multi_remove_handle(multi_, slot.easy);
      curl_easy_cleanup(slot.easy);
      slot.drop_headers();
    }
    curl_multi_cleanup(multi_);
  }

  void begin(size_t index, const HttpRequest& request, TransferListener& listener) {
    Slot& slot = slots_[index];
    slot.drop_headers();
    slot.head = {};
    slot.header_bytes = 0;
    slot.told = false;
    slot.error[0] = 0;
    slot.headers = curl_slist_append(nullptr, "Accept-Encoding: identity");
    if (!request.token.empty())
      slot.headers = curl_slist_append(slot.headers, ("Authorization: Bearer " + request.token).c_str());
    curl_easy_setopt(slot.easy, CURLOPT_HTTPHEADER, slot.headers);
    curl_easy_setopt(slot.easy, CURLOPT_URL, request.url.c_str());
    std::string range;
    if (request.range) range = fmt::format("{}-{}", request.range->first, request.range->last);
    curl_easy_setopt(slot.easy, CURLOPT_RANGE, range.empty() ? nullptr : range.c_str());
    const bool begun = curl_multi_add_handle(multi_, slot.easy) == CURLM_OK;
    require(begun, ErrorKind::resource, "libcurl cannot begin a transfer");
    slot.listener = &listener;
  }

  std::vector<TransferEnd> run(int wait_ms) {
    int n_running = 0;
    curl_multi_perform(multi_, &n_running);
    std::vector<TransferEnd> ended = collect();
    if (!ended.empty()) return ended;
    curl_multi_poll(multi_, nullptr, 0, wait_ms, nullptr);
    curl_multi_perform(multi_, &n_running);
    return collect();
  }

 private:
  static void set_up(Slot& slot, const TransferLimits& limits) {
    CURL* easy = slot.easy;
    // No CURLOPT_NOSIGNAL: without it, libcurl keeps SIGPIPE away, which TLS causes where the other side has gone.
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot.error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &slot);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "hearth");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, long(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    // One connection each: streams of one connection share its window, and its fate.
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, long(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
      const char* const named = std::getenv(name);
      if (!named || !*named) continue;
      curl_easy_setopt(easy, CURLOPT_CAINFO, named);
      break;
    }
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, limits.connect_seconds);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, limits.stall_seconds);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, limits.stall_bytes);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &slot);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &slot);
  }

  std::vector<TransferEnd> collect() {
    std::vector<TransferEnd> ended;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;  // before the message goes with its handle
      CURL* const easy = message->easy_handle;
      Slot* slot = nullptr;
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, &slot);
      curl_multi_remove_handle(multi_, easy);
      slot->listener = nullptr;
      if (slot->thrown) std::rethrow_exception(std::exchange(slot->thrown, nullptr));
      TransferEnd end;
      end.slot = size_t(slot - slots_.data());
      if (code != CURLE_OK) end.failure = one_line(slot->error[0] ? slot->error : curl_easy_strerror(code), 200);
      if (code == CURLE_OPERATION_TIMEDOUT) end.failure = "nothing came for too long";
      end.hopeless = is_hopeless(code);
      ended.push_back(std::move(end));
    }
    return ended;
  }

  std::vector<Slot> slots_;
  CURLM* multi_ = nullptr;
};

Transfers::Transfers(size_t n_slots, const TransferLimits& limits) : impl_(std::make_unique<Impl>(n_slots, limits)) {}
Transfers::~Transfers() = default;

void Transfers::begin(size_t slot, const HttpRequest& request, TransferListener& listener) {
  impl_->begin(slot, request, listener);
}

std::vector<TransferEnd> Transfers::run(int wait_ms) {
  return impl_->run(wait_ms);
}

}  // namespace hearth::hub
