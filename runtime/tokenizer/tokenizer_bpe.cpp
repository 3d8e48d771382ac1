#include "runtime/tokenizer/tokenizer_bpe.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <functional>

namespace hearth {

namespace {

uint64_t pair_of(int32_t left, int32_t right) {
  return uint64_t(uint32_t(left)) << 32 | uint32_t(right);
}

}  // namespace

Bpe::Bpe(const std::array<int32_t, 256>& byte_tokens, std::vector<Merge> merges)
    : byte_tokens_(byte_tokens), merges_(std::move(merges)), slots_(std::bit_ceil(2 * merges_.size() + 2)) {
  for (uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const uint64_t pair = pair_of(merges_[rank].left, merges_[rank].right);
    size_t at = home(pair);
    while (slots_[at].rank != kNone && slots_[at].pair != pair) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at].rank == kNone) slots_[at] = {pair, rank};
  }
}

// Where the search for a pair begins. The multiplication carries every bit of both tokens into the high ones.
size_t Bpe::home(uint64_t pair) const {
  return size_t(pair * 0x9E3779B97F4A7C15u >> (64 - std::countr_zero(slots_.size())));
}

uint32_t Bpe::rank(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t at = home(pair);
  while (slots_[at].rank != kNone && slots_[at].pair != pair) at = (at + 1) & (slots_.size() - 1);
  return slots_[at].rank;
}

// Queues the merge of the symbol at `position` with its right neighbour, if there is one.
void Bpe::offer(Scratch& scratch, uint32_t position) const {
  const Scratch::Symbol& left = scratch.symbols[position];
  if (left.next == kNone) return;
  const uint32_t found = rank(left.token, scratch.symbols[left.next].token);
  if (found != kNone) scratch.queue.push_back(uint64_t(found) << 32 | position);
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& tokens) const {
  assert(word.size() < kNone);
  auto& [symbols, queue] = scratch;
  symbols.clear();
  queue.clear();
  for (uint32_t i = 0; i < word.size(); ++i)
    symbols.push_back({byte_tokens_[static_cast<unsigned char>(word[i])], i - 1, i + 1});
  if (!symbols.empty()) symbols.back().next = kNone;  // the first one's `previous` is kNone already

  for (uint32_t i = 0; i < symbols.size(); ++i) offer(scratch, i);
  const std::greater<> lowest_first;
  std::make_heap(queue.begin(), queue.end(), lowest_first);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), lowest_first);
    const Merge& merge = merges_[queue.back() >> 32];
    const auto position = uint32_t(queue.back());
    queue.pop_back();
    Scratch::Symbol& left = symbols[position];
    // A neighbour may have been merged away since.
    if (left.token != merge.left || left.next == kNone || symbols[left.next].token != merge.right) continue;
    Scratch::Symbol& right = symbols[left.next];
    right.token = -1;
    left.token = merge.product;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = position;
    for (const uint32_t changed : {left.previous, position}) {
      const size_t before = queue.size();
      if (changed != kNone) offer(scratch, changed);
      if (queue.size() > before) std::push_heap(queue.begin(), queue.end(), lowest_first);
    }
  }
  for (const Scratch::Symbol& symbol : symbols)
    if (symbol.token >= 0) tokens.push_back(symbol.token);
}

}  // namespace hearth
