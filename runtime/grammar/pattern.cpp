#include "runtime/grammar/pattern.h"

#include <memory>
#include <optional>
#include <vector>

#include "runtime/grammar/json_value.h"
#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

constexpr size_t kLongest = 10'000;  // code points of a pattern
constexpr int kDeepest = 200;        // groups
constexpr uint32_t kMostTimes = 1'000'000;

struct Piece {
  enum class Kind { characters, start, end, sequence, choice, repeat } kind;
  CodePointSet set = {};
  std::vector<Piece> parts = {};
  uint32_t least = 0, most = 0;
};

const CodePointSet kDigits({{'0', '9'}}), kWord({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}),
    kSpace({{9, 13},
            {32, 32},
            {0xA0, 0xA0},
            {0x1680, 0x1680},
            {0x2000, 0x200A},
            {0x2028, 0x2029},
            {0x202F, 0x202F},
            {0x205F, 0x205F},
            {0x3000, 0x3000},
            {0xFEFF, 0xFEFF}}),
    kLineEnds({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});

class PatternParser {
 public:
  explicit PatternParser(std::string_view pattern) : text_(code_points_of(pattern)) {
    if (text_.size() > kLongest)
      throw Refusal("", fmt::format("a pattern of {} characters, at most {} are taken", text_.size(), kLongest));
  }

  Piece whole() {
    Piece piece = choice();
    if (at_ < text_.size()) wrong("')' without '('");
    return piece;
  }

 private:
  [[noreturn]] void wrong(std::string_view what) const {
    throw Refusal("", fmt::format("pattern: {} at character {}", what, at_));
  }
  uint32_t peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0x110000; }
  bool take(uint32_t c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  Piece choice() {
    if (++depth_ > kDeepest) wrong(fmt::format("groups more than {} deep", kDeepest));
    Piece made{Piece::Kind::choice};
    do made.parts.push_back(sequence());
    while (take('|'));
    --depth_;
    if (made.parts.size() > 1) return made;
    return Piece(std::move(made.parts[0]));
  }

  Piece sequence() {
    Piece made{Piece::Kind::sequence};
    while (at_ < text_.size() && peek() != '|' && peek() != ')') made.parts.push_back(term());
    return made;
  }

  Piece term() {
    Piece piece = atom();
    uint32_t least = 1, most = 1;
    if (take('*')) {
      least = 0, most = kUnbounded;
    } else if (take('+')) {
      most = kUnbounded;
    } else if (take('?')) {
      least = 0;
    } else if (peek() == '{') {
      ++at_;
      least = number();
      most = least;
      if (take(',')) most = peek() == '}' ? kUnbounded : number();
      if (!take('}')) wrong("expected '}'");
      if (least > most) wrong("a repetition whose least is more than its most");
    } else {
      return piece;
    }
    if (piece.kind == Piece::Kind::start || piece.kind == Piece::Kind::end) wrong("a repeated '^' or '$'");
    take('?');  // lazy: the same language
    Piece repeated{Piece::Kind::repeat};
    repeated.least = least, repeated.most = most;
    repeated.parts.push_back(std::move(piece));
    return repeated;
  }

  uint32_t number() {
    if (peek() < '0' || peek() > '9') wrong("expected a number");
    uint32_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (text_[at_++] - '0');
      if (value > kMostTimes) wrong(fmt::format("a repetition of more than {} times", kMostTimes));
    }
    return value;
  }

  static Piece one_of(CodePointSet set) { return Piece{Piece::Kind::characters, std::move(set)}; }
  static CodePointSet just(uint32_t c) { return CodePointSet({{c, c}}); }

  Piece atom() {
    const uint32_t c = text_[at_++];
    switch (c) {
      case '^':
        return Piece{Piece::Kind::start};
      case '$':
        return Piece{Piece::Kind::end};
      case '.':
        return one_of(kLineEnds.complement());
      case '[':
        return one_of(char_class());
      case '(':
        return group();
      case '\\':
        if (peek() == 'b' || peek() == 'B') wrong("word boundaries are not supported:");
        return one_of(escape());
      case '*':
      case '+':
      case '?':
      case '{':
        --at_;
        wrong("nothing to repeat");
      default:  // ']' and '}' by themselves, too: what everybody takes
        return one_of(just(c));
    }
  }

  Piece group() {
    if (take('?')) {
      if (peek() == '=' || peek() == '!' || (peek() == '<' && (peek(1) == '=' || peek(1) == '!')))
        wrong("look-around is not supported:");
      if (take('<')) {
        while (at_ < text_.size() && peek() != '>') ++at_;
        if (!take('>')) wrong("expected '>'");
      } else if (!take(':')) {
        wrong("a group of an unknown kind");
      }
    }
    Piece piece = choice();
    if (!take(')')) wrong("expected ')'");
    return piece;
  }

  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const uint32_t c = peek();
      const uint32_t digit = c >= '0' && c <= '9'                 ? c - '0'
                             : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                                  : 16;
      if (digit == 16) wrong("expected a hexadecimal digit");
      value = value * 16 + digit;
      ++at_;
    }
    return value;
  }

  uint32_t unicode_escape() {
    if (take('{')) {
      uint32_t value = 0;
      while (peek() != '}') {
        value = value * 16 + hex(1);
        if (value > 0x10FFFF) wrong("a code point above 10FFFF");
      }
      ++at_;
      return value;
    }
    const uint32_t high = hex(4);
    if (high < 0xD800 || high > 0xDBFF || peek() != '\\' || peek(1) != 'u') return high;
    at_ += 2;
    const uint32_t low = hex(4);
    if (low < 0xDC00 || low > 0xDFFF) wrong("half a surrogate pair");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  // What stands after a backslash, outside of classes and inside.
  CodePointSet escape() {
    const uint32_t c = peek();
    ++at_;
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return kDigits.complement();
      case 'w':
        return kWord;
      case 'W':
        return kWord.complement();
      case 's':
        return kSpace;
      case 'S':
        return kSpace.complement();
      case 'p':
      case 'P':
        return property(c == 'P');
      case 't':
        return just('\t');
      case 'n':
        return just('\n');
      case 'v':
        return just('\v');
      case 'f':
        return just('\f');
      case 'r':
        return just('\r');
      case 'x':
        return just(hex(2));
      case 'u':
        return just(unicode_escape());
      case 'c': {
        const uint32_t letter = peek() | 32;
        if (letter < 'a' || letter > 'z') wrong("\\c without a letter");
        ++at_;
        return just(letter - 'a' + 1);
      }
      case '0':
        if (peek() >= '0' && peek() <= '9') wrong("an octal escape");
        return just(0);
      default:
        if (c == 0x110000) wrong("a backslash at the end");
        if (c >= '1' && c <= '9') wrong("back references are not supported:");
        if ((c | 32) >= 'a' && (c | 32) <= 'z') wrong("an unknown escape");
        return just(c);  // itself
    }
  }

  CodePointSet property(bool without) {
    std::string name;
    if (!take('{')) wrong("expected '{'");
    while (at_ < text_.size() && peek() != '}') append_utf8(name, text_[at_++]);
    if (!take('}')) wrong("expected '}'");
    const CodePointSet set = unicode_property(name);
    if (set.empty()) wrong(fmt::format("\\p{{{}}}, which is no general category,", name));
    return without ? set.complement() : set;
  }

  CodePointSet char_class() {
    const bool without = take('^');
    CodePointSet set;
    while (!take(']')) {
      if (at_ >= text_.size()) wrong("expected ']'");
      const CodePointSet first = class_atom();
      if (peek() == '-' && peek(1) != ']' && at_ + 1 < text_.size()) {
        const size_t dash = at_++;
        const CodePointSet last = class_atom();
        const auto single = [](const CodePointSet& own) {
          return own.ranges().size() == 1 && own.ranges()[0].first == own.ranges()[0].second;
        };
        if (!single(first) || !single(last)) {
          at_ = dash;
          wrong("a range between classes");
        }
        if (first.ranges()[0].first > last.ranges()[0].first) wrong("a range whose ends are the wrong way round");
        set = set.united(CodePointSet({{first.ranges()[0].first, last.ranges()[0].first}}));
      } else {
        set = set.united(first);
      }
    }
    return without ? set.complement() : set.intersected(CodePointSet::all());
  }

  CodePointSet class_atom() {
    const uint32_t c = text_[at_++];
    if (c != '\\') return just(c);
    if (take('b')) return just('\b');
    return escape();
  }

  std::vector<uint32_t> text_;
  size_t at_ = 0;
  int depth_ = 0;
};

// The texts that the piece matches, where it stands at the beginning of everything (`^` holds) or after something.
Regex build(RegexPool& pool, const Piece& piece, bool start) {
  switch (piece.kind) {
    case Piece::Kind::characters:
      return pool.characters(piece.set);
    case Piece::Kind::start:
      return start ? kEmptyText : kNothing;
    case Piece::Kind::end:
      return kEndMark;
    case Piece::Kind::choice: {
      std::vector<Regex> parts;
      for (const Piece& part : piece.parts) parts.push_back(build(pool, part, start));
      return pool.either(std::move(parts));
    }
    case Piece::Kind::repeat: {
      const Regex later = build(pool, piece.parts[0], false);
      const Regex plain = pool.repeat(later, piece.least, piece.most);
      if (!start || piece.most == 0) return plain;
      const Regex first = build(pool, piece.parts[0], true);
      if (first == later) return plain;
      // The first time that is not "" stands at the beginning; those before it, where "" is allowed, do not count.
      const uint32_t least = pool.accepts(first) || piece.least == 0 ? 0 : piece.least - 1;
      const Regex rest = pool.repeat(later, least, piece.most == kUnbounded ? piece.most : piece.most - 1);
      const Regex some = pool.concat(first, rest);
      return piece.least == 0 ? pool.either({kEmptyText, some}) : some;
    }
    case Piece::Kind::sequence:
      break;
  }
  // From the end: what follows a part stands at the beginning only where everything before it is "".
  Regex later = kEmptyText, at_start = kEmptyText;
  for (size_t i = piece.parts.size(); i-- > 0;) {
    const Regex own_start = start ? build(pool, piece.parts[i], true) : kNothing;
    const Regex own = build(pool, piece.parts[i], false);
    if (start) {
      const Regex skipped = pool.accepts_inside(own_start) ? kEmptyText : pool.accepts(own_start) ? kEndMark : kNothing;
      const Regex after = pool.concat(own_start, later);
      at_start = later == at_start ? after : pool.either({after, pool.concat(skipped, at_start)});
    }
    later = pool.concat(own, later);
  }
  return start ? at_start : later;
}

}  // namespace

Regex parse_pattern(RegexPool& pool, std::string_view pattern) {
  const Piece piece = PatternParser(pattern).whole();
  const Regex first = build(pool, piece, true), later = build(pool, piece, false);
  Regex found;
  if (first == later)
    found = pool.concat(kAnyText, first);
  else
    found = pool.either({first, pool.concat(pool.any_of_length(1, kUnbounded), later)});
  return pool.without_last_end(pool.concat(found, kAnyText));
}

}  // namespace hearth::grammar
