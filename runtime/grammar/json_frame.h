// An array or object that was begun, and those around it. Immutable and shared: copies cost a count.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/grammar/name_trie.h"
#include "runtime/grammar/regex.h"

namespace hearth::grammar {

struct Frame;

// Counted by one thread: a grammar and what was made of it belong to one thread at a time.
class FramePtr {
 public:
  FramePtr() = default;
  explicit FramePtr(Frame* frame);  // newly made
  FramePtr(const FramePtr& other);
  FramePtr(FramePtr&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  FramePtr& operator=(FramePtr other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~FramePtr() { release(); }
  const Frame* operator->() const { return frame_; }
  const Frame& operator*() const { return *frame_; }
  explicit operator bool() const { return frame_ != nullptr; }
  const Frame* get() const { return frame_; }

 private:
  void release();
  Frame* frame_ = nullptr;
};

// A name that the schema does not know, and those before it.
struct ExtraName {
  std::string name;
  std::shared_ptr<const ExtraName> before;
  uint64_t hash;  // of all of them
};
using ExtraNames = std::shared_ptr<const ExtraName>;
ExtraNames with(const ExtraNames& names, const std::string& name);
bool same(const ExtraNames& a, const ExtraNames& b);

// Names that may come in an object: known ones, and the language of others.
struct UsableNames {
  NameBits known;
  Regex others;
};

struct Frame {
  bool object = false;
  uint32_t form = 0;                   // of the program's
  uint32_t count = 0;                  // items or members, none beyond what makes a difference
  uint32_t pending = 0;                // object: demands that no member met so far
  std::vector<uint32_t> counted = {};  // array: items that met each demand
  NameBits seen = {};                  // object
  ExtraNames extra = {};               // object
  FramePtr parent = {};
  mutable std::shared_ptr<const UsableNames> usable = {};  // once it was asked for
  uint64_t hash = 0;                                       // of all that, set by sealed()
  uint32_t references = 0;
};

FramePtr sealed(Frame frame);
bool same(const FramePtr& a, const FramePtr& b);  // and all around them
inline uint64_t hash_of(const FramePtr& frame) {
  return frame ? frame->hash : 0x5EED;
}

inline uint64_t mixed(uint64_t hash, uint64_t value) {
  hash = (hash ^ (value + 0x9E3779B97F4A7C15u)) * 0xFF51AFD7ED558CCDu;
  return hash ^ hash >> 32;
}

}  // namespace hearth::grammar
