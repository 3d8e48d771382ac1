#include "runtime/grammar/json_machine.h"

#include <algorithm>

#include "quant/error.h"
#include "runtime/grammar/json_value.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostWays = 1'000;
constexpr std::string_view kWords[] = {"null", "false", "true"};

using Strings = StringStates<RegexPool>;

}  // namespace

JsonState JsonMachine::start() const {
  JsonState state;
  state.ways.push_back({static_cast<int32_t>(program_->root), -1, {}});
  return state;
}

bool JsonMachine::became(JsonState& state, Phase phase) const {
  state.phase = state.ways.empty() ? Phase::dead : phase;
  require(state.ways.size() <= kMostWays, ErrorKind::resource, "the schema lets this be read in more than {} ways",
          kMostWays);
  return !state.ways.empty();
}

bool JsonMachine::advance(JsonState& state, uint8_t byte) const {
  switch (state.phase) {
    case Phase::string:
      return step_string(state, byte);
    case Phase::name:
      return step_name(state, byte);
    case Phase::number:
      return step_number(state, byte);
    case Phase::word:
      return step_word(state, byte);
    default:
      break;
  }
  if (is_blank(byte)) return step_blank(state, byte);
  state.blanks = 0;
  switch (state.phase) {
    case Phase::value:
      return begin_value(state, byte);
    case Phase::after_value:
      return after_value(state, byte);
    case Phase::array_open:
      if (byte == ']') return close(state, false);
      return next_items(state) && begin_value(state, byte);
    case Phase::object_open:
      if (byte == '}') return close(state, true);
      [[fallthrough]];
    case Phase::name_wait:
      if (byte == '"') return begin_name(state);
      break;
    case Phase::colon:
      if (byte == ':') return became(state, Phase::value);
      break;
    default:
      break;
  }
  state.ways.clear();
  return became(state, Phase::dead);
}

// Where they are few: a single space, or one or two line ends and an indentation. `blanks` becomes kEnough, or 1, 2 and
// one more for each that follows.
bool JsonMachine::step_blank(JsonState& state, uint8_t byte) const {
  constexpr uint8_t kEnough = 255, kDeepest = 2 + 60;
  bool taken = state.phase != Phase::dead && (state.phase != Phase::after_value || state.ways[0].frame);
  if (taken && few_blanks_) {
    uint8_t& blanks = state.blanks;
    if (byte == '\n' && blanks < 2) {
      ++blanks;
    } else if (byte == ' ' && blanks == 0) {
      blanks = kEnough;
    } else if ((byte == ' ' || byte == '\t') && blanks > 0 && blanks < kDeepest) {
      blanks = static_cast<uint8_t>(std::max<int>(blanks, 2) + 1);
    } else {
      taken = false;
    }
  }
  if (taken) return true;
  state.ways.clear();
  return became(state, Phase::dead);
}

bool JsonMachine::begin_value(JsonState& state, uint8_t byte) const {
  JsonProgram& program = *program_;
  std::vector<Way>& ways = state.ways;
  const auto node = [&](const Way& way) -> const JsonNode& { return program.nodes[static_cast<size_t>(way.a)]; };
  if (byte == '"') {
    std::erase_if(ways, [&](Way& way) { return (way.a = node(way).strings) < 0; });
    return became(state, Phase::string);
  }
  if (byte == '-' || (byte >= '0' && byte <= '9')) {
    std::erase_if(ways, [&](Way& way) {
      const int32_t first = node(way).numbers;
      return first < 0 || (way.a = program.pools.numbers.step(first, byte)) == NumberPool::kDead;
    });
    state.at = 1;
    return became(state, Phase::number);
  }
  if (byte == '[' || byte == '{') {
    const bool object = byte == '{';
    std::vector<Way> inside;
    for (const Way& way : ways)
      for (const uint32_t form : object ? node(way).objects : node(way).arrays) {
        Frame frame{.object = object, .form = form, .parent = way.frame};
        if (object) {
          frame.pending = (1u << program.objects[form].n_some) - 1;
          frame.seen = NameBits(program.objects[form].names.size());
        } else {
          frame.counted.resize(program.arrays[form].counts.size());
        }
        inside.push_back({-1, -1, sealed(std::move(frame))});
      }
    ways = std::move(inside);
    return became(state, object ? Phase::object_open : Phase::array_open);
  }
  state.word = byte == 'n' ? 0 : byte == 'f' ? 1 : byte == 't' ? 2 : 3;
  state.at = 1;
  std::erase_if(ways, [&](const Way& way) {
    if (state.word == 3) return true;
    return !(state.word == 0 ? node(way).null : node(way).booleans[state.word - 1]);
  });
  return became(state, Phase::word);
}

bool JsonMachine::step_string(JsonState& state, uint8_t byte) const {
  bool closed = false;
  std::erase_if(state.ways, [&](Way& way) {
    const int32_t to = program_->strings.step(way.a, byte);
    closed |= to == Strings::kClosed;
    way.a = to == Strings::kClosed ? -1 : to;
    return to == Strings::kDead;
  });
  return closed ? end_value(state) : became(state, Phase::string);
}

bool JsonMachine::step_number(JsonState& state, uint8_t byte) const {
  NumberPool& numbers = program_->pools.numbers;
  const auto accepted = [&](const Way& way) { return numbers.accepts(way.a); };
  if (!is_blank(byte) && byte != ',' && byte != ']' && byte != '}') {
    if (few_blanks_) {
      constexpr uint8_t kLongest = 40;  // bytes: a number that may end there ends, else its exponent comes
      const auto scales = [&](const Way& way) { return numbers.step(way.a, 'e') != NumberPool::kDead; };
      if (state.at >= kLongest && (std::any_of(state.ways.begin(), state.ways.end(), accepted) ||
                                   ((byte | 32) != 'e' && std::any_of(state.ways.begin(), state.ways.end(), scales))))
        state.ways.clear();
      state.at = std::min<uint8_t>(state.at + 1, kLongest);
    }
    std::erase_if(state.ways,
                  [&](Way& way) { return (way.a = program_->pools.numbers.step(way.a, byte)) == NumberPool::kDead; });
    return became(state, Phase::number);
  }
  std::erase_if(state.ways, [&](const Way& way) { return !accepted(way); });
  return end_value(state) && advance(state, byte);
}

bool JsonMachine::step_word(JsonState& state, uint8_t byte) const {
  const std::string_view word = kWords[state.word];
  if (static_cast<uint8_t>(word[state.at]) != byte) {
    state.ways.clear();
    return became(state, Phase::dead);
  }
  return ++state.at == word.size() ? end_value(state) : true;
}

bool JsonMachine::end_value(JsonState& state) const {
  for (Way& way : state.ways) way.a = way.b = -1;
  std::vector<Way>& ways = state.ways;
  for (size_t i = 1; i < ways.size();) {  // ways that met again
    const bool twice = std::any_of(ways.begin(), ways.begin() + static_cast<std::ptrdiff_t>(i),
                                   [&](const Way& other) { return grammar::same(other.frame, ways[i].frame); });
    if (twice)
      ways.erase(ways.begin() + static_cast<std::ptrdiff_t>(i));
    else
      ++i;
  }
  return became(state, Phase::after_value);
}

bool JsonMachine::after_value(JsonState& state, uint8_t byte) const {
  const Frame* frame = state.ways[0].frame.get();
  if (frame && byte == (frame->object ? '}' : ']')) return close(state, frame->object);
  if (frame && byte == ',') {
    if (!frame->object) return next_items(state);
    std::erase_if(state.ways, [&](const Way& way) { return !may_add_member(*way.frame); });
    return became(state, Phase::name_wait);
  }
  state.ways.clear();
  return became(state, Phase::dead);
}

bool JsonMachine::may_close(const Frame& frame) const {
  if (frame.object) {
    const ObjectForm& form = program_->objects[frame.form];
    return frame.pending == 0 && frame.count >= form.least && form.demanded.without(frame.seen).count() == 0;
  }
  const ArrayForm& form = program_->arrays[frame.form];
  for (size_t j = 0; j < form.counts.size(); ++j)
    if (frame.counted[j] < form.counts[j].least) return false;
  return frame.count >= form.least;
}

bool JsonMachine::close(JsonState& state, bool object) const {
  std::erase_if(state.ways, [&](Way& way) {
    if (way.frame->object != object || !may_close(*way.frame)) return true;
    way.frame = FramePtr(way.frame->parent);
    return false;
  });
  return end_value(state);
}

bool JsonMachine::next_items(JsonState& state) const {
  std::vector<Way> ways;
  for (const Way& way : state.ways) {
    const Frame& frame = *way.frame;
    ArrayForm& form = program_->arrays[frame.form];
    const Choices& choices = form.at(frame.count);
    for (uint32_t subset = 0; subset < choices.size(); ++subset) {
      if (choices[subset] == kNoNode) continue;
      uint32_t count = frame.count;
      std::vector<uint32_t> counted = frame.counted;
      if (!count_item(form, subset, count, counted) || !can_finish(form, count, counted)) continue;
      Frame next = {.form = frame.form, .count = count, .counted = std::move(counted), .parent = frame.parent};
      ways.push_back({static_cast<int32_t>(choices[subset]), -1, sealed(std::move(next))});
    }
  }
  state.ways = std::move(ways);
  return became(state, Phase::value);
}

bool JsonMachine::may_end(const JsonState& state) const {
  if (state.phase == Phase::after_value) return !state.ways[0].frame;
  if (state.phase != Phase::number) return false;
  return std::any_of(state.ways.begin(), state.ways.end(),
                     [&](const Way& way) { return !way.frame && program_->pools.numbers.accepts(way.a); });
}

uint64_t JsonMachine::hash(const JsonState& state) {
  uint64_t hash =
      mixed(static_cast<uint64_t>(state.phase), uint64_t{state.blanks} << 16 | uint64_t{state.word} << 8 | state.at);
  for (const Way& way : state.ways) {
    hash = mixed(hash, uint64_t{static_cast<uint32_t>(way.a)} << 32 | static_cast<uint32_t>(way.b));
    hash = mixed(hash, hash_of(way.frame));
  }
  return state.name.empty() ? hash : mixed(hash, std::hash<std::string>()(state.name));
}

bool JsonMachine::same(const JsonState& a, const JsonState& b) {
  return a.phase == b.phase && a.word == b.word && a.at == b.at && a.blanks == b.blanks && a.name == b.name &&
         std::equal(a.ways.begin(), a.ways.end(), b.ways.begin(), b.ways.end(), [](const Way& x, const Way& y) {
           return x.a == y.a && x.b == y.b && grammar::same(x.frame, y.frame);
         });
}

}  // namespace hearth::grammar
