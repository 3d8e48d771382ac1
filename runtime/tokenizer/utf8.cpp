#include "runtime/tokenizer/utf8.h"

namespace hearth {

namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

// What may follow a lead byte: how many bytes, and the range of the first of them (the others are 80..BF). The range
// is what excludes overlong forms, surrogates and numbers above U+10FFFF. No followers: not a lead byte.
struct Lead {
  int followers;
  unsigned char low, high;
};

Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

// Appends all of `text` up to an unfinished end, repaired; returns the length of that end.
size_t append_repaired(std::string& out, std::string_view text) {
  size_t copied = 0, at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Piece piece = first_utf8_piece(text.substr(at));
    if (piece.kind == Utf8Piece::Kind::unfinished) break;
    if (piece.kind == Utf8Piece::Kind::ill_formed) {
      out.append(text.substr(copied, at - copied)).append(kReplacement);
      copied = at + piece.length;
    }
    at += piece.length;
  }
  out.append(text.substr(copied, at - copied));
  return text.size() - at;
}

}  // namespace

Utf8Piece first_utf8_piece(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {Utf8Piece::Kind::character, 1};
  const Lead lead = lead_of(byte(0));
  if (lead.followers == 0) return {Utf8Piece::Kind::ill_formed, 1};
  unsigned char low = lead.low, high = lead.high;
  for (size_t i = 1; i <= size_t(lead.followers); ++i) {
    if (i == text.size()) return {Utf8Piece::Kind::unfinished, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Piece::Kind::ill_formed, i};
    low = 0x80, high = 0xBF;
  }
  return {Utf8Piece::Kind::character, size_t(lead.followers) + 1};
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (append_repaired(out, text) > 0) out += kReplacement;
  return out;
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  const size_t unfinished = append_repaired(out, pending_);
  pending_.erase(0, pending_.size() - unfinished);
  return out;
}

std::string Utf8Stream::finish() {
  const std::string out = pending_.empty() ? "" : kReplacement;
  pending_.clear();
  return out;
}

}  // namespace hearth
