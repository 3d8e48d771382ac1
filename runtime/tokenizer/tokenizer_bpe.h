// Byte-pair merging: the tokens of one word.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hearth {

struct Merge {
  int32_t left, right, product;  // tokens
};

class Bpe {
 public:
  // `byte_tokens`: the token of each byte, -1 for a byte that never comes. `merges`: by rank; of a pair that comes
  // twice the first counts.
  Bpe(const std::array<int32_t, 256>& byte_tokens, std::vector<Merge> merges);

  // Memory of `encode`, kept from word to word; one for each thread.
  struct Scratch {
    struct Symbol {
      int32_t token;            // -1: merged into the one before
      uint32_t previous, next;  // positions; kNone at the ends
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> queue;  // a heap of merges that were possible when they were put in: rank << 32 | position
  };

  // Appends the tokens of `word`: its bytes, of which always the pair of lowest rank is merged, the leftmost on ties,
  // until no pair of neighbours has a merge. O(n log n) in the length of the word.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& tokens) const;

  const std::vector<Merge>& merges() const { return merges_; }
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t rank(int32_t left, int32_t right) const;  // of the pair; kNone: it has no merge

 private:
  // Ranks of pairs: a hash table with linear probing, at most half full.
  struct Slot {
    uint64_t pair = UINT64_MAX;
    uint32_t rank = kNone;
  };
  size_t home(uint64_t pair) const;
  void offer(Scratch& scratch, uint32_t position) const;

  std::array<int32_t, 256> byte_tokens_;
  std::vector<Merge> merges_;
  std::vector<Slot> slots_;  // a power of two of them
};

}  // namespace hearth
