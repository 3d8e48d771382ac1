// Names of members: which may come, and what they lead to.
#include <algorithm>

#include "runtime/grammar/json_machine.h"
#include "runtime/grammar/json_value.h"

namespace hearth::grammar {
namespace {

// The whole characters of a name, and the bytes of the one within which it may break off.
std::pair<std::string, std::string> whole_characters(const std::string& raw) {
  std::string text;
  EscapedChar partial;
  size_t whole = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto step = partial.step(static_cast<uint8_t>(raw[i]));
    partial = step->then;
    if (!step->finished()) continue;
    append_utf8(text, step->character);
    whole = i + 1;
  }
  return {text, raw.substr(whole)};
}

uint64_t times(uint64_t count, uint64_t factor) {
  return count == kInfinite || count > kInfinite / 2 / factor ? kInfinite : count * factor;
}

bool has_extra(const Frame& frame, const std::string& name) {
  for (const ExtraName* at = frame.extra.get(); at; at = at->before.get())
    if (at->name == name) return true;
  return false;
}

}  // namespace

// Where there is room for more than what is needed, any name will do; else those that meet a need.
UsableNames JsonMachine::find_usable(const Frame& frame) const {
  const ObjectForm& form = program_->objects[frame.form];
  const uint32_t needed = members_needed(form, frame.seen, frame.pending);
  UsableNames found{form.allowed.without(frame.seen), form.any_other};
  if (form.most == kUnbounded || needed < form.most - frame.count) return found;
  const NameBits all = found.known;
  found = {NameBits(form.names.size()), kNothing};
  const auto helps = [&](const Choices& choices, const NameBits& seen) {
    for (uint32_t subset = 0; subset < choices.size(); ++subset) {
      const uint32_t pending = frame.pending & ~subset;
      if (choices[subset] == kNoNode || (subset & ~frame.pending)) continue;
      const uint32_t then = members_needed(form, seen, pending);
      if (then != kNoNode && then < needed) return true;
    }
    return false;
  };
  for (size_t i = 0; i < form.names.size(); ++i) {
    if (!all.has(i)) continue;
    NameBits seen = frame.seen;
    seen.add(i);
    if (helps(form.values[i], seen)) found.known.add(i);
  }
  if (frame.pending == 0) return found;
  std::vector<Regex> others;
  for (const auto& other : form.others)
    if (helps(other.values, frame.seen)) others.push_back(other.names);
  found.others = program_->pools.regexes.either(std::move(others));
  return found;
}

const UsableNames& JsonMachine::usable(const Frame& frame) const {
  if (!frame.usable) frame.usable = std::make_shared<const UsableNames>(find_usable(frame));
  return *frame.usable;
}

// Some name that goes on like that is neither known nor there already.
bool JsonMachine::others_left(const Frame& frame, const std::string& raw, int32_t state) const {
  const ObjectForm& form = program_->objects[frame.form];
  RegexPool& regexes = program_->pools.regexes;
  if (form.n_others == kInfinite && form.any_other == kAnyText) return true;
  const auto [inner, partial] = program_->strings.state(state);
  const EscapedChar::Ranges ranges = partial.possible();
  uint64_t left = partial.between()        ? regexes.count(inner)
                  : partial.is_forgotten() ? times(regexes.count(inner), uint64_t{1} << 6 * partial.bytes_to_come())
                                           : regexes.count_within(inner, ranges);
  if (left == kInfinite) return true;
  const auto [prefix, begun] = whole_characters(raw);
  const auto taken = [&](const std::string& name) {
    if (!name.starts_with(prefix)) return;
    std::string_view rest = std::string_view(name).substr(prefix.size());
    if (partial.is_forgotten()) {  // the automaton is behind the character already
      if (!rest.starts_with(begun)) return;
      rest.remove_prefix(begun.size() + partial.bytes_to_come());
    } else if (!partial.between()) {
      if (rest.empty()) return;
      const uint32_t next = code_points_of(rest)[0];
      const auto holds = [&](const auto& range) { return next >= range.first && next <= range.second; };
      if (std::none_of(ranges.begin(), ranges.end(), holds)) return;
    }
    left -= regexes.matches(inner, rest);
  };
  for (const std::string& name : form.names) taken(name);
  for (const ExtraName* at = frame.extra.get(); at; at = at->before.get()) taken(at->name);
  return left > 0;
}

bool JsonMachine::may_add_member(const Frame& frame) const {
  const ObjectForm& form = program_->objects[frame.form];
  if (form.most != kUnbounded && frame.count >= form.most) return false;
  const UsableNames& names = usable(frame);
  if (names.known.count() > 0) return true;
  return names.others != kNothing && others_left(frame, "", program_->strings.start(names.others));
}

bool JsonMachine::begin_name(JsonState& state) const {
  std::erase_if(state.ways, [&](Way& way) {
    if (!may_add_member(*way.frame)) return true;
    const UsableNames& names = usable(*way.frame);
    way.a = names.known.count() > 0 ? program_->objects[way.frame->form].name_states->start() : -1;
    way.b = names.others != kNothing ? program_->strings.start(names.others) : -1;
    if (way.b >= 0 && !others_left(*way.frame, "", way.b)) way.b = -1;
    return false;
  });
  state.name.clear();
  return became(state, Phase::name);
}

bool JsonMachine::step_name(JsonState& state, uint8_t byte) const {
  if (byte == '"') {
    const Way& way = state.ways[0];
    const bool between = way.a >= 0 ? program_->objects[way.frame->form].name_states->between(way.a)
                                    : program_->strings.state(way.b).partial.between();
    if (between) return end_name(state);
  }
  state.name += static_cast<char>(byte);
  std::erase_if(state.ways, [&](Way& way) {
    if (way.a >= 0) {
      NameStates& names = *program_->objects[way.frame->form].name_states;
      way.a = names.step(way.a, byte);
      if (way.a >= 0 && !names.possible(way.a).meets(usable(*way.frame).known)) way.a = -1;
      way.a = std::max(way.a, -1);
    }
    if (way.b >= 0) {
      way.b = std::max(program_->strings.step(way.b, byte), -1);
      if (way.b >= 0 && !others_left(*way.frame, state.name, way.b)) way.b = -1;
    }
    return way.a < 0 && way.b < 0;
  });
  return became(state, Phase::name);
}

bool JsonMachine::end_name(JsonState& state) const {
  const std::string name = unescape_json(state.name);
  std::vector<Way> ways;
  for (const Way& way : state.ways) {
    const ObjectForm& form = program_->objects[way.frame->form];
    if (const auto known = form.name_numbers.find(name); known != form.name_numbers.end()) {
      if (way.a >= 0 && usable(*way.frame).known.has(known->second))
        add_member(way, form.values[known->second], static_cast<int>(known->second), ways);
      continue;
    }
    using Strings = StringStates<RegexPool>;
    if (way.b < 0 || program_->strings.step(way.b, '"') != Strings::kClosed || has_extra(*way.frame, name)) continue;
    const auto other = std::find_if(form.others.begin(), form.others.end(), [&](const ObjectForm::Other& each) {
      return each.names == kAnyText || program_->pools.regexes.matches(each.names, name);
    });
    if (other == form.others.end()) continue;
    const size_t before = ways.size();
    add_member(way, other->values, -1, ways);
    if (ways.size() == before) continue;
    const ExtraNames extra = with(way.frame->extra, name);
    for (size_t i = before; i < ways.size(); ++i) {
      Frame frame = *ways[i].frame;
      frame.extra = extra;
      frame.references = 0;
      ways[i].frame = sealed(std::move(frame));
    }
  }
  state.ways = std::move(ways);
  state.name.clear();
  return became(state, Phase::colon);
}

// One way for each set of open demands that the member may meet.
void JsonMachine::add_member(const Way& way, const Choices& choices, int known, std::vector<Way>& ways) const {
  const Frame& old = *way.frame;
  const ObjectForm& form = program_->objects[old.form];
  for (uint32_t subset = 0; subset < choices.size(); ++subset) {
    if (choices[subset] == kNoNode || (subset & ~old.pending)) continue;
    Frame frame = old;
    frame.references = 0;
    frame.pending &= ~subset;
    const uint32_t enough = form.most != kUnbounded ? form.most : form.least;
    frame.count = std::min(frame.count + 1, enough);
    if (known >= 0) frame.seen.add(static_cast<size_t>(known));
    const uint32_t needed = members_needed(form, frame.seen, frame.pending);
    if (needed == kNoNode || (form.most != kUnbounded && needed > form.most - frame.count)) continue;
    ways.push_back({static_cast<int32_t>(choices[subset]), -1, sealed(std::move(frame))});
  }
}

}  // namespace hearth::grammar
