#include "runtime/grammar/gbnf_rules.h"

#include <algorithm>
#include <map>
#include <string>

#include "runtime/grammar/json_value.h"
#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostBytes = 1 << 20, kMostItems = 200'000, kMostGroups = 200;
constexpr uint32_t kMostTurns = 100'000;

using Kind = GbnfItem::Kind;
using Sequence = std::vector<GbnfItem>;

class GbnfParser {
 public:
  explicit GbnfParser(std::string_view text) : text_(code_points_of(text)) {}

  GbnfRules parse() {
    for (skip_blank(true); at_ < text_.size(); skip_blank(true)) {
      const uint32_t rule = named(name());
      if (defined_[rule]) wrong("a rule that is there already");
      defined_[rule] = true;
      skip_blank(false);
      for (const char c : {':', ':', '='})
        if (!take(static_cast<uint32_t>(c))) wrong("expected ::=");
      skip_blank(true);
      alternatives(rule, false);
      skip_blank(false);
      if (at_ < text_.size() && !newline()) wrong("expected the end of the rule");
    }
    const auto root = names_.find("root");
    if (root == names_.end() || !defined_[root->second]) throw Refusal("line 1", "there is no rule root");
    for (const auto& [name, rule] : names_)
      if (!defined_[rule])
        throw Refusal(fmt::format("line {}", lines_[rule]), fmt::format("there is no rule {}", name));
    rules_.root = root->second;
    lay_out();
    return std::move(rules_);
  }

  std::string place(uint32_t rule) const { return fmt::format("line {}", lines_[rule]); }

 private:
  size_t line() const {
    return 1 + static_cast<size_t>(std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n'));
  }
  [[noreturn]] void wrong(const std::string& what) const { throw Refusal(fmt::format("line {}", line()), what); }
  uint32_t peek() const { return at_ < text_.size() ? text_[at_] : 0x110000; }
  bool take(uint32_t c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool newline() const { return peek() == '\n' || peek() == '\r'; }
  void skip_blank(bool lines) {
    for (; at_ < text_.size(); ++at_) {
      if (peek() == '#')
        while (at_ < text_.size() && !newline()) ++at_;
      if (!(peek() == ' ' || peek() == '\t' || (lines && newline()))) return;
    }
  }

  static bool in_name(uint32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  }
  std::string name() {
    std::string text;
    while (in_name(peek())) text += static_cast<char>(text_[at_++]);
    if (text.empty()) wrong("expected the name of a rule");
    return text;
  }
  uint32_t add_rule() {
    bodies_.emplace_back();
    defined_.push_back(false);
    lines_.push_back(line());
    return static_cast<uint32_t>(bodies_.size() - 1);
  }
  uint32_t named(const std::string& name) {
    const auto found = names_.find(name);
    return found != names_.end() ? found->second : names_[name] = add_rule();
  }

  void alternatives(uint32_t rule, bool nested) {
    if (++depth_ > kMostGroups) wrong(fmt::format("groups more than {} deep", kMostGroups));
    std::vector<Sequence> made;
    do {
      skip_blank(true);
      made.push_back(sequence(nested));
    } while (take('|'));
    bodies_[rule] = std::move(made);
    --depth_;
  }

  Sequence sequence(bool nested) {
    Sequence items;
    for (;;) {
      skip_blank(nested);
      const size_t before = items.size();
      if (take('"')) {
        while (!take('"')) items.push_back(one_of(just(character())));
      } else if (take('[')) {
        items.push_back(one_of(char_class()));
      } else if (take('.')) {
        items.push_back(one_of(CodePointSet::all()));
      } else if (take('(')) {
        const uint32_t group = add_rule();
        defined_[group] = true;
        alternatives(group, true);
        skip_blank(true);
        if (!take(')')) wrong("expected )");
        items.push_back({Kind::rule, group});
      } else if (in_name(peek())) {
        items.push_back({Kind::rule, named(name())});
      } else if (peek() == '<' || peek() == '!') {
        wrong("terminals that are tokens are not supported");
      } else {
        return items;
      }
      if ((n_items_ += items.size() - before + 1) > kMostItems) wrong(fmt::format("more than {} symbols", kMostItems));
      repetitions(items, before);
    }
  }

  void repetitions(Sequence& items, size_t from) {
    for (;;) {
      uint32_t least = 0, most = kUnbounded;
      if (take('+')) {
        least = 1;
      } else if (take('?')) {
        most = 1;
      } else if (take('{')) {
        least = most = number();
        skip_blank(false);
        if (take(',')) skip_blank(false), most = peek() == '}' ? kUnbounded : number();
        skip_blank(false);
        if (!take('}')) wrong("expected }");
        if (least > most) wrong("a repetition whose least is more than its most");
      } else if (!take('*')) {
        return;
      }
      if (items.size() == from) {  // of "": it stays that
        continue;
      }
      // Of a text it is the whole that is repeated.
      const uint32_t body = add_rule();
      defined_[body] = true;
      bodies_[body] = {Sequence(items.begin() + static_cast<std::ptrdiff_t>(from), items.end())};
      items.resize(from);
      items.push_back({Kind::repeat, body, least, most});
    }
  }

  uint32_t number() {
    if (peek() < '0' || peek() > '9') wrong("expected a number");
    uint32_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (text_[at_++] - '0');
      if (value > kMostTurns) wrong(fmt::format("a repetition of more than {} times", kMostTurns));
    }
    return value;
  }

  static CodePointSet just(uint32_t c) { return CodePointSet({{c, c}}); }
  GbnfItem one_of(CodePointSet set) {
    const auto [it, added] = set_numbers_.try_emplace(set, static_cast<uint32_t>(rules_.sets.size()));
    if (added) rules_.sets.push_back(std::move(set));
    return {Kind::characters, it->second};
  }

  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const uint32_t c = peek(), low = c | 32;
      const bool decimal = c >= '0' && c <= '9';
      if (!decimal && (low < 'a' || low > 'f')) wrong("expected a hexadecimal digit");
      value = value * 16 + (decimal ? c - '0' : low - 'a' + 10);
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) wrong("an escape that is no character");
    return value;
  }

  uint32_t character() {
    if (at_ >= text_.size()) wrong("a text or class without an end");
    const uint32_t c = text_[at_++];
    if (c != '\\') return c;
    switch (const uint32_t escaped = peek(); ++at_, escaped) {
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'n':
        return '\n';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return escaped;
      default:
        --at_;
        wrong("an unknown escape");
    }
  }

  CodePointSet char_class() {
    const bool without = take('^');
    std::vector<CodePointSet::Range> ranges;
    while (!take(']')) {
      const uint32_t first = character();
      uint32_t last = first;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        last = character();
        if (last < first) wrong("a range whose ends are the wrong way round");
      }
      ranges.emplace_back(first, last);
    }
    const CodePointSet set(std::move(ranges));
    return without ? set.complement() : set.intersected(CodePointSet::all());
  }

  // Takes out what can never be finished, refuses recursion on the left, and puts all alternatives in a row.
  void lay_out() {
    std::vector<bool> finite(bodies_.size()), empty(bodies_.size());
    const auto fixed_point = [&](std::vector<bool>& found, auto of_item) {
      for (bool changed = true; changed;) {
        changed = false;
        for (size_t rule = bodies_.size(); rule-- > 0;) {
          if (found[rule]) continue;
          for (const Sequence& body : bodies_[rule])
            if (std::all_of(body.begin(), body.end(), of_item)) found[rule] = changed = true;
        }
      }
    };
    const auto may_finish = [&](const GbnfItem& item) {
      if (item.kind == Kind::characters) return !rules_.sets[item.what].empty();
      return (item.kind == Kind::repeat && item.least == 0) || finite[item.what];
    };
    fixed_point(finite, may_finish);
    if (!finite[rules_.root]) throw Refusal(place(rules_.root), "root can never be finished");
    for (auto& bodies : bodies_) {
      std::erase_if(bodies, [&](const Sequence& body) { return !std::all_of(body.begin(), body.end(), may_finish); });
      for (Sequence& body : bodies)
        for (GbnfItem& item : body)
          if (item.kind == Kind::repeat && !finite[item.what]) item.most = 0;
    }
    const auto may_be_empty = [&](const GbnfItem& item) {
      return (item.kind == Kind::repeat && item.least == 0) || (item.kind != Kind::characters && empty[item.what]);
    };
    fixed_point(empty, may_be_empty);
    refuse_left_recursion(may_be_empty);
    for (const auto& bodies : bodies_) {
      std::vector<uint32_t>& begins = rules_.rules.emplace_back();
      for (const Sequence& body : bodies) {
        begins.push_back(static_cast<uint32_t>(rules_.items.size()));
        rules_.items.insert(rules_.items.end(), body.begin(), body.end());
        rules_.items.push_back({});
      }
    }
  }

  template <class Empty>
  void refuse_left_recursion(Empty may_be_empty) const {
    std::vector<std::vector<uint32_t>> first(bodies_.size());
    for (size_t rule = 0; rule < bodies_.size(); ++rule)
      for (const Sequence& body : bodies_[rule])
        for (const GbnfItem& item : body) {
          if (item.kind != Kind::characters) first[rule].push_back(item.what);
          if (!may_be_empty(item)) break;
        }
    std::vector<uint8_t> colour(bodies_.size());  // 1: open, 2: done
    for (uint32_t start = 0; start < bodies_.size(); ++start) {
      if (colour[start]) continue;
      std::vector<std::pair<uint32_t, size_t>> open = {{start, 0}};
      colour[start] = 1;
      while (!open.empty()) {
        auto& [rule, at] = open.back();
        if (at == first[rule].size()) {
          colour[rule] = 2;
          open.pop_back();
          continue;
        }
        const uint32_t next = first[rule][at++];
        if (colour[next] == 1) throw Refusal(place(next), "a rule begins with itself (left recursion)");
        if (colour[next] == 0) colour[next] = 1, open.emplace_back(next, 0);
      }
    }
  }

  std::vector<uint32_t> text_;
  size_t at_ = 0, n_items_ = 0, depth_ = 0;
  GbnfRules rules_;
  std::vector<std::vector<Sequence>> bodies_;
  std::vector<bool> defined_;
  std::vector<size_t> lines_;
  std::map<std::string, uint32_t> names_;
  std::map<CodePointSet, uint32_t> set_numbers_;
};

}  // namespace

GbnfRules parse_gbnf(std::string_view text) {
  if (text.size() > kMostBytes)
    throw Refusal("line 1", fmt::format("a grammar of {} bytes, at most {} are taken", text.size(), kMostBytes));
  const size_t bad = first_ill_formed(text);
  if (bad != text.npos) throw Refusal("line 1", fmt::format("byte {} is not UTF-8", bad));
  return GbnfParser(text).parse();
}

}  // namespace hearth::grammar
