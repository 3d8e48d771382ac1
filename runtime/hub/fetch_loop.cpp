#include "runtime/hub/fetch_loop.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "quant/error.h"
#include "runtime/hub/url.h"
#include "runtime/hub/verdict.h"

namespace hearth::hub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostHops = 5;
constexpr uint64_t kWorthwhile = 64 << 10;     // bytes of a try that was not in vain
constexpr size_t kMostRefusalBytes = 1 << 20;  // of the page that comes with a refusal
constexpr std::chrono::milliseconds kTick{100};
constexpr std::chrono::milliseconds kTold{1500};  // shorter waits are nobody's business

}  // namespace

// A connection, and what it is fetching.
class FetchLoop::Slot : public TransferListener {
 public:
  size_t index = 0;
  std::unique_ptr<Fetch> fetch;  // null: idle
  bool running = false;
  Clock::time_point not_before;
  int tries = 0, hops = 0;
  std::string url;
  bool with_token = false, taken = false;  // whether the answer brings what was asked for
  uint64_t bytes = 0, brought = 0;         // of this try; of those, what need not come again
  HttpHead answer;

  void head(const HttpHead& head) override {
    answer = head;
    taken = head.status == 200 || head.status == 206;
    if (taken) fetch->begin(url, head);
  }
  void body(std::string_view piece) override {
    bytes += piece.size();
    if (taken)
      brought += fetch->take(piece);
    else
      require(bytes <= kMostRefusalBytes, ErrorKind::resource, "{}: {} answers {} with more than {} bytes",
              fetch->name(), host_of(url), answer.status, kMostRefusalBytes);
  }
};

FetchLoop::FetchLoop(const FetchSettings& settings, Tick tick, Tell tell)
    : settings_(settings),
      origin_(origin_of(settings.endpoint)),
      tick_(std::move(tick)),
      tell_(std::move(tell)),
      transfers_(settings.connections, settings.limits) {
  for (size_t i = 0; i < settings.connections; ++i) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->index = i;
  }
}

FetchLoop::~FetchLoop() = default;

bool FetchLoop::may_begin(const Slot& slot) const {
  const Clock::time_point now = Clock::now();
  return now >= slot.not_before && (now >= quiet_until_ || origin_of(slot.url) != origin_);
}

void FetchLoop::begin(Slot& slot) {
  slot.with_token = !settings_.token.empty() && origin_of(slot.url) == origin_;
  slot.taken = false;
  slot.bytes = slot.brought = 0;
  slot.answer = {};
  HttpRequest request;
  request.url = slot.url;
  if (slot.with_token) request.token = settings_.token;
  request.range = slot.fetch->range();
  transfers_.begin(slot.index, request, slot);
  slot.running = true;
}

void FetchLoop::again(Slot& slot, const std::string& why, std::optional<uint64_t> seconds) {
  if (slot.brought >= kWorthwhile) slot.tries = 0;
  ++slot.tries;
  const std::string name = slot.fetch->name();
  require(slot.tries < settings_.tries, ErrorKind::resource, "{}: {}, at {} tries one after another", name, why,
          slot.tries);
  const bool patient = !seconds || *seconds <= settings_.most_seconds;
  require(patient, ErrorKind::resource, "{}: {}, and asks for {} s of patience: try again later", name, why,
          seconds.value_or(0));
  std::chrono::milliseconds wait = settings_.first_wait;
  for (int i = 1; i < slot.tries; ++i) wait = std::min(wait * 2, settings_.longest_wait);
  if (seconds) wait = std::chrono::seconds(*seconds);
  slot.not_before = Clock::now() + wait;
  slot.hops = 0;
  slot.url = slot.fetch->url();
  if (wait < kTold) return;
  tell_(fmt::format("{}: {}: waiting {} s", name, why, std::chrono::duration_cast<std::chrono::seconds>(wait).count()));
}

void FetchLoop::redirect(Slot& slot) {
  const std::string location = slot.answer.header("location");
  require(!location.empty(), ErrorKind::format, "{}: {} answers {} without saying where to go", slot.fetch->name(),
          host_of(slot.url), slot.answer.status);
  require(++slot.hops <= kMostHops, ErrorKind::format, "{}: expected at most {} redirects, found more",
          slot.fetch->name(), kMostHops);
  slot.fetch->passed(slot.url, slot.answer);
  try {
    slot.url = follow(slot.url, location);
  } catch (const Error& error) {
    fail(error.kind, "{}: {}", slot.fetch->name(), error.what());
  }
}

void FetchLoop::end(Slot& slot, const TransferEnd& end) {
  slot.running = false;
  if (slot.taken && slot.fetch->is_whole(end.failure.empty())) {
    slot.fetch.reset();
    return;
  }
  const std::string host = host_of(slot.url);
  require(!end.hopeless, ErrorKind::resource, "{}: {}: {}", slot.fetch->name(), host, end.failure);
  const bool elsewhere = origin_of(slot.url) != origin_;
  // Addresses of content servers are good for a while.
  if (elsewhere && !slot.taken) slot.fetch->address_failed();
  if (slot.taken || slot.answer.status == 0) {
    again(slot, host + ": " + (end.failure.empty() ? "the answer ended too early" : end.failure), std::nullopt);
    return;
  }
  const int status = slot.answer.status;
  if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) return redirect(slot);
  const Verdict verdict = judge(slot.answer, host, slot.with_token, std::time(nullptr));
  const bool expired = elsewhere && slot.hops == 0;  // it was told some time ago
  require(verdict.again || expired, ErrorKind::resource, "{}: {}", slot.fetch->name(), verdict.why);
  again(slot, verdict.why, verdict.seconds);
  if (verdict.seconds && !elsewhere) quiet_until_ = slot.not_before;  // nor do the others ask it
}

void FetchLoop::run(const std::function<std::unique_ptr<Fetch>()>& next) {
  for (;;) {
    bool busy = false, running = false;
    for (const auto& slot : slots_) {
      if (!slot->fetch && (slot->fetch = next())) {
        slot->url = slot->fetch->url();
        slot->tries = slot->hops = 0;
        slot->not_before = {};
      }
      if (slot->fetch && !slot->running && may_begin(*slot)) begin(*slot);
      busy = busy || slot->fetch;
      running = running || slot->running;
    }
    tick_();
    if (!busy) return;
    if (!running) {
      std::this_thread::sleep_for(kTick);
      continue;
    }
    for (const TransferEnd& ended : transfers_.run(int(kTick.count()))) end(*slots_[ended.slot], ended);
  }
}

namespace {

class TextFetch : public Fetch {
 public:
  TextFetch(const std::string& name, const std::string& url, size_t most_bytes, HubText& out)
      : name_(name), url_(url), most_bytes_(most_bytes), out_(out) {}
  std::string name() const override { return name_; }
  std::string url() const override { return url_; }
  std::optional<ByteRange> range() const override { return std::nullopt; }
  void begin(const std::string& url, const HttpHead& head) override {
    out_.text.clear();
    const std::string next = head.header("link").empty() ? "" : next_page(head.header("link"));
    out_.next_page = next.empty() ? "" : follow(url, next);
    const auto length = parse_number(head.header("content-length"));
    require(!length || *length <= most_bytes_, ErrorKind::format, "{}: expected at most {} bytes, found {}", name_,
            most_bytes_, length.value_or(0));
    length_ = length;
  }
  size_t take(std::string_view bytes) override {
    require(out_.text.size() + bytes.size() <= most_bytes_, ErrorKind::format,
            "{}: expected at most {} bytes, found more", name_, most_bytes_);
    out_.text += bytes;
    return 0;  // the next try begins anew
  }
  bool is_whole(bool ended_well) const override { return length_ ? out_.text.size() == *length_ : ended_well; }

 private:
  std::string name_, url_;
  size_t most_bytes_;
  HubText& out_;
  std::optional<uint64_t> length_;
};

}  // namespace

HubText fetch_text(FetchLoop& loop, const std::string& name, const std::string& url, size_t most_bytes) {
  HubText out;
  bool given = false;
  loop.run([&]() -> std::unique_ptr<Fetch> {
    if (std::exchange(given, true)) return nullptr;
    return std::make_unique<TextFetch>(name, url, most_bytes, out);
  });
  return out;
}

}  // namespace hearth::hub
