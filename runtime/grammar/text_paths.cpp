#include "runtime/grammar/text_paths.h"

#include <algorithm>
#include <map>

#include "runtime/grammar/json_frame.h"
#include "runtime/grammar/token_masks.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostThreads = 200;
constexpr uint8_t kControl = 0xFF;

using PartKind = TextPart::Kind;

bool is_control(const std::string& text) {
  return !text.empty() && static_cast<uint8_t>(text[0]) == kControl;
}

// How much of `mark` the bytes end with that ended with `matched` bytes of it and go on with `byte`.
size_t matched_after(const std::string& mark, size_t matched, char byte) {
  std::string seen = mark.substr(0, matched) + byte;
  while (!seen.empty() && !mark.starts_with(seen)) seen.erase(0, 1);
  return seen.size();
}

// Tokens of free text: those without the last byte of its mark cannot finish it.
struct FreeTokens {
  TokenMask others;
  std::vector<Token> with_byte;
};

struct Shared {
  std::vector<TextPath> paths;
  std::map<std::pair<const TokenTrie*, int>, FreeTokens> free_tokens = {};
  std::map<std::pair<const TokenTrie*, const Grammar*>, PartMasks> parts = {};
};

class PathsState final : public GrammarState {
 public:
  explicit PathsState(Shared& shared) : shared_(&shared) {
    for (size_t path = 0; path < shared.paths.size(); ++path) enter(path, 0);
  }
  PathsState(const PathsState& other) : shared_(other.shared_), finished_(other.finished_) {
    for (const Thread& thread : other.threads_) threads_.push_back(thread.copy());
  }

  std::unique_ptr<GrammarState> clone() const override { return std::make_unique<PathsState>(*this); }

  bool advance(uint8_t byte) override {
    std::vector<Thread> before = std::move(threads_);
    threads_.clear();
    finished_ = false;
    for (Thread& thread : before) step(thread, byte);
    require(threads_.size() <= kMostThreads, ErrorKind::resource, "an answer can be read in more than {} ways",
            kMostThreads);
    return !dead();
  }

  bool may_end() const override {
    return finished_ || std::any_of(threads_.begin(), threads_.end(), [&](const Thread& thread) {
             const TextPart& part = part_of(thread);
             return part.kind == PartKind::free && (part.may_end || part.text.empty()) &&
                    !(is_control(part.text) && thread.matched > 0);
           });
  }
  bool dead() const override { return threads_.empty() && !finished_; }

  uint64_t hash() const override {
    uint64_t hash = finished_;
    for (const Thread& thread : threads_) {
      hash = mixed(hash, thread.path << 40 ^ thread.part << 20 ^ thread.matched);
      if (thread.inner) hash = mixed(hash, thread.inner->hash());
    }
    return hash;
  }
  bool same(const GrammarState& other) const override {
    const auto& threads = static_cast<const PathsState&>(other).threads_;
    return finished_ == static_cast<const PathsState&>(other).finished_ &&
           std::equal(threads_.begin(), threads_.end(), threads.begin(), threads.end(),
                      [](const Thread& a, const Thread& b) {
                        return a.path == b.path && a.part == b.part && a.matched == b.matched && !a.inner == !b.inner &&
                               (!a.inner || a.inner->same(*b.inner));
                      });
  }
  bool ends_behind_quote() const override { return false; }

  void allow_tokens(const TokenTrie& tokens, PartMasks&, TokenMask& mask) const override {
    // Tokens that stay within a part are that part's own; those that cross from one to the next are walked.
    PathsState plain(*shared_, Empty()), quoted(*shared_, Empty());
    for (const Thread& thread : threads_) {
      const TextPart& part = part_of(thread);
      if (part.kind == PartKind::free) {
        allow_free(thread, tokens, mask);
        continue;
      }
      if (part.kind == PartKind::grammar) {
        PartMasks& parts = shared_->parts[{&tokens, part.grammar.get()}];
        if (parts.size() > 500) parts.clear();
        thread.inner->allow_tokens(tokens, parts, mask);
      }
      if (!thread.inner || !thread.inner->ends_behind_quote()) plain.threads_.push_back(thread.copy());
      quoted.threads_.push_back(thread.copy());
    }
    plain.walk_tree(tokens.plain(), mask);
    quoted.walk_tree(tokens.quoted(), mask);
  }

 private:
  struct Thread {
    size_t path, part;
    size_t matched = 0;  // text, free: bytes of it
    std::unique_ptr<GrammarState> inner = {};
    Thread copy() const { return {path, part, matched, inner ? inner->clone() : nullptr}; }
  };
  struct Empty {};
  PathsState(Shared& shared, Empty) : shared_(&shared) {}

  const TextPart& part_of(const Thread& thread) const { return shared_->paths[thread.path].parts[thread.part]; }

  // Where a part begins; and the next, where it may be nothing.
  void enter(size_t path, size_t part) {
    const TextPath& way = shared_->paths[path];
    if (part == way.parts.size()) {
      finished_ = true;
      if (way.again >= 0) enter(path, static_cast<size_t>(way.again));
      return;
    }
    const TextPart& next = way.parts[part];
    if (next.kind == PartKind::text && next.text.empty()) return enter(path, part + 1);
    Thread thread{path, part};
    if (next.kind == PartKind::grammar) {
      thread.inner = next.grammar->start();
      if (thread.inner->may_end()) enter(path, part + 1);
    }
    threads_.push_back(std::move(thread));
  }

  void step(Thread& thread, uint8_t byte) {
    const TextPart& part = part_of(thread);
    if (part.kind == PartKind::grammar) {
      if (!thread.inner->advance(byte)) return;
      if (thread.inner->may_end()) enter(thread.path, thread.part + 1);
    } else if (part.kind == PartKind::text) {
      if (static_cast<uint8_t>(part.text[thread.matched]) != byte) return;
      if (++thread.matched == part.text.size()) return enter(thread.path, thread.part + 1);
    } else {
      const size_t before = thread.matched;
      thread.matched = matched_after(part.text, before, static_cast<char>(byte));
      // A control token comes whole, and no other than the one that is meant.
      const bool within = is_control(part.text) && before > 0;
      if (thread.matched <= before && (within || byte == kControl)) return;
      if (!part.text.empty() && thread.matched == part.text.size()) return enter(thread.path, thread.part + 1);
    }
    threads_.push_back(std::move(thread));
  }

  void walk_tree(const TokenTrie::Tree& tree, TokenMask& mask) {
    if (threads_.empty()) return;
    std::vector<std::unique_ptr<PathsState>> states(tree.depth + 1);
    states[0] = std::make_unique<PathsState>(*this);
    walk(tree, states, mask, [](const auto& from, uint8_t byte, auto& to) {
      to = std::make_unique<PathsState>(*from);
      return to->advance(byte);
    });
  }

  void allow_free(const Thread& thread, const TokenTrie& tokens, TokenMask& mask) const {
    const std::string& mark = part_of(thread).text;
    const bool within_control = is_control(mark) && thread.matched > 0;
    const int last = mark.empty() ? kControl : static_cast<uint8_t>(mark.back());
    auto [it, added] = shared_->free_tokens.try_emplace({&tokens, last});
    if (added) {
      it->second.others = TokenMask(tokens.n_rows());
      for (size_t i = 0; i < tokens.n_rows(); ++i) {
        const auto token = static_cast<Token>(i);
        const std::string& bytes = tokens.bytes(token);
        if (bytes.find(static_cast<char>(last)) != bytes.npos || is_control(bytes))
          it->second.with_byte.push_back(token);
        else if (!bytes.empty())
          it->second.others.add(token);
      }
    }
    if (!within_control) mask.add(it->second.others);
    for (const Token token : it->second.with_byte) {
      if (is_control(tokens.bytes(token)) && tokens.bytes(token) != mark) continue;
      PathsState state(*shared_, Empty());
      state.threads_.push_back(thread.copy());
      const std::string& bytes = tokens.bytes(token);
      if (std::all_of(bytes.begin(), bytes.end(), [&](char c) { return state.advance(static_cast<uint8_t>(c)); }))
        mask.add(token);
    }
  }

  Shared* shared_;
  std::vector<Thread> threads_;
  bool finished_ = false;
};

class PathsGrammar final : public Grammar {
 public:
  explicit PathsGrammar(std::vector<TextPath> paths) : shared_{std::move(paths)} {}
  std::unique_ptr<GrammarState> start() const override { return std::make_unique<PathsState>(shared_); }

 private:
  mutable Shared shared_;  // remembers what it found
};

// A part that is nothing, or may be.
bool may_be_empty(const TextPart& part) {
  if (part.kind == PartKind::free) return false;
  return part.kind == PartKind::text ? part.text.empty() : part.grammar->start()->may_end();
}

}  // namespace

std::string control_mark(std::string_view token_text) {
  std::string mark(1, static_cast<char>(kControl));
  mark += token_text;
  mark += static_cast<char>(kControl);
  return mark;
}

std::shared_ptr<const Grammar> compile_paths(std::vector<TextPath> paths) {
  if (paths.empty()) throw Refusal("paths", "expected one or more");
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto& parts = paths[i].parts;
    const int again = paths[i].again;
    if (again >= static_cast<int>(parts.size()))
      throw Refusal(fmt::format("path {}", i), "goes on with a part that is not there");
    if (again >= 0 && std::all_of(parts.begin() + again, parts.end(), may_be_empty))
      throw Refusal(fmt::format("path {}", i), "repeats what may be nothing");
  }
  return std::make_shared<PathsGrammar>(std::move(paths));
}

}  // namespace hearth::grammar
