#include "runtime/jinja/text.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>

namespace hearth::jinja {

void Text::append(std::string_view bytes, int source) {
  if (bytes.empty()) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().source == source) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), source});
  }
}

void Text::append(const Text& other, size_t begin, size_t end) {
  auto run = std::upper_bound(other.runs_.begin(), other.runs_.end(), begin,
                              [](size_t at, const Run& r) { return at < r.end; });
  for (; begin < end; ++run) {
    const size_t stop = std::min(end, run->end);
    append(std::string_view(other.bytes_).substr(begin, stop - begin), run->source);
    begin = stop;
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text out;
  if (begin < end) out.append(*this, begin, end);
  return out;
}

void Text::truncate(size_t size) {
  *this = slice(0, size);
}

int Text::source_at(size_t position) const {
  if (runs_.empty()) return 0;
  const auto run =
      std::upper_bound(runs_.begin(), runs_.end(), position, [](size_t at, const Run& r) { return at < r.end; });
  return run == runs_.end() ? runs_.back().source : run->source;
}

int Text::any_source() const {
  for (const Run& run : runs_)
    if (run.source != 0) return run.source;
  return 0;
}

size_t Text::length() const {
  size_t n = 0;
  for (size_t position = 0; position < bytes_.size(); ++n) next_code_point(bytes_, position);
  return n;
}

size_t Text::position_of(size_t index) const {
  size_t position = 0;
  for (; index > 0 && position < bytes_.size(); --index) next_code_point(bytes_, position);
  return position;
}

char32_t next_code_point(std::string_view bytes, size_t& position) {
  const auto at = [&](size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u; };
  const unsigned lead = at(position);
  if (lead < 0x80) return ++position, lead;
  const int more = lead >= 0xF0 && lead < 0xF8   ? 3
                   : lead >= 0xE0 && lead < 0xF0 ? 2
                   : lead >= 0xC2 && lead < 0xE0 ? 1
                                                 : 0;
  char32_t c = more == 3 ? lead & 7 : more == 2 ? lead & 15 : lead & 31;
  bool ok = more > 0;
  for (int i = 1; i <= more && ok; ++i) {
    ok = (at(position + i) & 0xC0) == 0x80;
    c = c << 6 | (at(position + i) & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  if (!ok || c < kSmallest[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return ++position, 0xDC00 + lead;
  position += size_t(more) + 1;
  return c;
}

void append_code_point(std::string& bytes, char32_t c) {
  if (c >= 0xDC80 && c <= 0xDCFF) {
    bytes += char(c - 0xDC00);
  } else if (c < 0x80) {
    bytes += char(c);
  } else if (c < 0x800) {
    bytes += {char(0xC0 | c >> 6), char(0x80 | (c & 63))};
  } else if (c < 0x10000) {
    bytes += {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
  } else {
    bytes += {char(0xF0 | c >> 18), char(0x80 | (c >> 12 & 63)), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
  }
}

namespace {

// The C library's table, whatever the program's locale is. Null (ASCII only, then) where the library has no such
// locale.
locale_t unicode() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return locale;
}

bool has_table() {
  return unicode() != nullptr;
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  if (c < 128) return (c | 32) >= 'a' && (c | 32) <= 'z';
  return has_table() && iswalpha_l(wint_t(c), unicode());
}

bool is_digit(char32_t c) {
  return (c >= '0' && c <= '9') || c == 0xB2 || c == 0xB3 || c == 0xB9;
}

bool is_upper(char32_t c) {
  if (c < 128) return c >= 'A' && c <= 'Z';
  return has_table() && iswupper_l(wint_t(c), unicode());
}

bool is_lower(char32_t c) {
  if (c < 128) return c >= 'a' && c <= 'z';
  return has_table() && iswlower_l(wint_t(c), unicode());
}

bool is_printable(char32_t c) {
  if (c < 128) return c >= 32 && c < 127;
  if (is_space(c) || c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
      (c >= 0x2060 && c <= 0x206F) || (c >= 0xD800 && c <= 0xF8FF) || c == 0xFEFF || c >= 0xE0000) {
    return false;
  }
  return !has_table() || iswprint_l(wint_t(c), unicode());
}

char32_t to_upper(char32_t c) {
  if (c < 128) return c >= 'a' && c <= 'z' ? c - 32 : c;
  return has_table() ? char32_t(towupper_l(wint_t(c), unicode())) : c;
}

char32_t to_lower(char32_t c) {
  if (c < 128) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  return has_table() ? char32_t(towlower_l(wint_t(c), unicode())) : c;
}

}  // namespace hearth::jinja
