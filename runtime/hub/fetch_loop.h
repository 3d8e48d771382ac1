// Fetches one thing after another over a few connections. Redirects, waiting and trying again are decided here, and
// where the token goes: to the hub, and nowhere else.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/hub/transfers.h"

namespace hearth::hub {

// One thing to fetch.
class Fetch {
 public:
  virtual ~Fetch() = default;
  virtual std::string name() const = 0;                                  // for messages
  virtual std::string url() const = 0;                                   // where each try begins
  virtual std::optional<ByteRange> range() const = 0;                    // what is still missing; nothing: the whole
  virtual void passed(const std::string&, const HttpHead&) {}            // a redirect on the way, and who sent it
  virtual void begin(const std::string& url, const HttpHead& head) = 0;  // 200 or 206; of what follows
  virtual size_t take(std::string_view bytes) = 0;   // how many of them need not come again, whatever follows
  virtual bool is_whole(bool ended_well) const = 0;  // what came is all; the answer ended as it said, or did not
  virtual void address_failed() {}                   // which was not the hub's: the next try begins at the hub
};

struct FetchSettings {
  std::string endpoint;  // "https://huggingface.co": who gets the token
  std::string token;
  size_t connections = 8;
  int tries = 6;                              // in a row that bring next to nothing
  std::chrono::milliseconds first_wait{500};  // before the second try; doubled for each
  std::chrono::milliseconds longest_wait{30000};
  uint64_t most_seconds = 600;  // that a hub may ask us to wait
  TransferLimits limits;
};

// Called while the loop runs, ten times a second or oftener. May throw, which ends it.
using Tick = std::function<void()>;
// A wait that is worth telling: "huggingface.co answers 429: too many requests: waiting 55 s".
using Tell = std::function<void(const std::string&)>;

class FetchLoop {
 public:
  FetchLoop(const FetchSettings& settings, Tick tick, Tell tell);
  ~FetchLoop();

  // Until `next` has nothing more (null) and all is there. Where it has nothing now and something later, something else
  // is being fetched. Throws Error(resource) where a hub refuses or cannot be reached, and whatever a Fetch throws.
  void run(const std::function<std::unique_ptr<Fetch>()>& next);

 private:
  class Slot;
  bool may_begin(const Slot& slot) const;
  void begin(Slot& slot);
  void end(Slot& slot, const TransferEnd& end);
  void redirect(Slot& slot);
  void again(Slot& slot, const std::string& why, std::optional<uint64_t> seconds);

  FetchSettings settings_;
  std::string origin_;
  std::chrono::steady_clock::time_point quiet_until_;  // the hub wants to be left alone
  Tick tick_;
  Tell tell_;
  std::vector<std::unique_ptr<Slot>> slots_;
  Transfers transfers_;
};

// The text of one answer, at most `most_bytes`, and the address of the next page where there is one.
struct HubText {
  std::string text, next_page;
};
HubText fetch_text(FetchLoop& loop, const std::string& name, const std::string& url, size_t most_bytes);

}  // namespace hearth::hub
