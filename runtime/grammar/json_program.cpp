#include "runtime/grammar/json_program.h"

#include <algorithm>
#include <set>

#include "runtime/grammar/refusal.h"
#include "runtime/grammar/schema_compiler.h"
#include "runtime/grammar/schema_document.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostDemands = 20'000, kMostCounts = 3, kMostSome = 4, kMostPatterns = 6;
constexpr uint32_t kMostCounted = 2'000;  // items of an array with counts

class Builder {
 public:
  Builder(const SchemaDocument& document, JsonProgram& program, bool formats)
      : document_(document), compiler_(document, program.pools, formats), program_(program) {}

  void build() {
    program_.root = node_of(program_.pools.expressions.schema(&document_.root()));
    for (size_t i = 0; i < wanted_.size(); ++i) fill(i);
    find_possible();
    remove_impossible();
    if (program_.root == kNoNode) throw Refusal("", "no value satisfies it");
  }

 private:
  uint32_t node_of(Expression expression) {
    if (expression == kNever) return kNoNode;
    const auto [it, added] = numbers_.try_emplace(expression, static_cast<uint32_t>(wanted_.size()));
    if (added) {
      if (wanted_.size() >= kMostDemands)
        throw Refusal("", fmt::format("more than {} different demands on values", kMostDemands));
      wanted_.push_back(expression);
      program_.nodes.emplace_back();
    }
    return it->second;
  }

  void fill(size_t i) {
    const Kinds kinds = compiler_.kinds(wanted_[i]);
    JsonNode node;
    node.null = kinds.null;
    for (int k : {0, 1}) node.booleans[k] = kinds.booleans[k];
    if (kinds.numbers != kNoNumber) node.numbers = program_.pools.numbers.start(kinds.numbers);
    if (program_.pools.regexes.alive(kinds.strings)) node.strings = program_.strings.start(kinds.strings);
    for (const ArrayShape& shape : kinds.arrays) add(shape, node.arrays);
    for (const ObjectShape& shape : kinds.objects) add(shape, node.objects);
    program_.nodes[i] = std::move(node);
  }

  void add(const ArrayShape& shape, std::vector<uint32_t>& forms) {
    const auto [it, added] = array_numbers_.try_emplace(shape, static_cast<uint32_t>(program_.arrays.size()));
    forms.push_back(it->second);
    if (!added) return;
    if (shape.counts.size() > kMostCounts)
      throw Refusal("", fmt::format("contains, together with others, counts in more than {} ways", kMostCounts));
    ArrayForm form;
    form.least = shape.least, form.most = shape.most;
    size_t positions = shape.prefix.size();
    for (const ArrayShape::Count& count : shape.counts) {
      form.counts.push_back({count.least, count.most, count.from});
      positions = std::max<size_t>(positions, count.from);
      const uint32_t most = shape.most == kUnbounded ? shape.least : shape.most;
      if (most > kMostCounted || count.least > kMostCounted)
        throw Refusal("", fmt::format("contains in an array of more than {} items", kMostCounted));
    }
    if (shape.most < positions) positions = shape.most;
    Expressions& expressions = program_.pools.expressions;
    for (size_t i = 0; i <= positions; ++i) {
      Choices choices;
      for (uint32_t subset = 0; subset < 1u << shape.counts.size(); ++subset) {
        std::vector<Expression> all = {i < shape.prefix.size() ? shape.prefix[i] : shape.rest};
        for (size_t j = 0; j < shape.counts.size(); ++j) {
          const ArrayShape::Count& count = shape.counts[j];
          const bool counts = subset >> j & 1;
          if (i < count.from && counts)
            all.push_back(kNever);
          else if (counts)
            all.push_back(count.value);
          else if (count.most != kUnbounded && i >= count.from)
            all.push_back(expressions.complement(count.value));
        }
        choices.push_back(node_of(expressions.both(std::move(all))));
      }
      form.items.push_back(std::move(choices));
    }
    program_.arrays.push_back(std::move(form));
  }

  static bool single(const Names& names) { return !names.others && names.patterns.empty() && names.listed.size() == 1; }

  bool among(const Names& names, const std::string& name) {
    bool found = std::find(names.listed.begin(), names.listed.end(), name) != names.listed.end();
    for (const Regex pattern : names.patterns) found = found || program_.pools.regexes.matches(pattern, name);
    return found != names.others;
  }

  void add(const ObjectShape& shape, std::vector<uint32_t>& forms) {
    const auto [it, added] = object_numbers_.try_emplace(shape, static_cast<uint32_t>(program_.objects.size()));
    forms.push_back(it->second);
    if (!added) return;
    ObjectForm form;
    form.least = shape.least, form.most = shape.most;
    std::set<Regex> patterns;
    std::vector<ObjectShape::Member> all = shape.all, some;
    std::set<std::string> names, demanded;
    for (const auto& member : shape.some) {
      if (!single(member.names)) {
        some.push_back(member);
      } else {  // the only member of that name is the one that is meant
        demanded.insert(member.names.listed[0]);
        if (member.value != kAlways) all.push_back(member);
      }
    }
    const std::vector<ObjectShape::Member>* const lists[] = {&all, &some, &shape.some};
    for (const auto* members : lists)
      for (const auto& member : *members) {
        names.insert(member.names.listed.begin(), member.names.listed.end());
        patterns.insert(member.names.patterns.begin(), member.names.patterns.end());
      }
    if (some.size() > kMostSome || patterns.size() > kMostPatterns)
      throw Refusal("", fmt::format("more than {} patterns of names, or {} demands on members of unknown names at once",
                                    kMostPatterns, kMostSome));
    form.n_some = static_cast<uint32_t>(some.size());
    form.names.assign(names.begin(), names.end());
    form.name_states = std::make_unique<NameStates>(form.names);
    form.demanded = form.allowed = NameBits(form.names.size());
    // Rules about all other names or about single ones are most; no name is compared with each of the latter.
    std::unordered_map<std::string, std::vector<Expression>> by_name;
    std::vector<ObjectShape::Member> wide;
    for (auto& member : all) {
      if (single(member.names))
        by_name[member.names.listed[0]].push_back(member.value);
      else
        wide.push_back({sorted(member.names), member.value});
    }
    for (size_t i = 0; i < form.names.size(); ++i) {
      const std::string& name = form.names[i];
      form.name_numbers[name] = i;
      std::vector<Expression> values = by_name[name];
      for (const auto& member : wide)
        if (among_sorted(member.names, name)) values.push_back(member.value);
      form.values.push_back(choices(some, values, [&](const Names& own) { return among(own, name); }));
      if (demanded.contains(name)) form.demanded.add(i);
    }
    add_others(form, wide, some, std::vector<Regex>(patterns.begin(), patterns.end()));
    program_.objects.push_back(std::move(form));
  }

  static Names sorted(Names names) {
    std::sort(names.listed.begin(), names.listed.end());
    return names;
  }
  bool among_sorted(const Names& names, const std::string& name) {
    if (std::binary_search(names.listed.begin(), names.listed.end(), name)) return !names.others;
    return among({.patterns = names.patterns, .others = names.others}, name);
  }

  // Unknown names, by which of the patterns they match.
  void add_others(ObjectForm& form, const std::vector<ObjectShape::Member>& wide,
                  const std::vector<ObjectShape::Member>& some, const std::vector<Regex>& patterns) {
    RegexPool& regexes = program_.pools.regexes;
    for (uint32_t subset = 0; subset < 1u << patterns.size(); ++subset) {
      std::vector<Regex> parts;
      for (size_t i = 0; i < patterns.size(); ++i)
        parts.push_back(subset >> i & 1 ? patterns[i] : regexes.complement(patterns[i]));
      const Regex names = regexes.both(std::move(parts));
      if (!regexes.alive(names)) continue;
      const auto matched = [&](const Names& own) {
        const bool any = std::any_of(own.patterns.begin(), own.patterns.end(), [&](Regex pattern) {
          const auto at = std::find(patterns.begin(), patterns.end(), pattern) - patterns.begin();
          return (subset >> at & 1) != 0;
        });
        return any != own.others;
      };
      std::vector<Expression> values;
      for (const auto& member : wide)
        if (matched(member.names)) values.push_back(member.value);
      Choices own = choices(some, values, matched);
      form.others.push_back({names, std::move(own)});
    }
  }

  template <class Matched>
  Choices choices(const std::vector<ObjectShape::Member>& some, const std::vector<Expression>& values,
                  Matched matched) {
    Choices made;
    for (uint32_t subset = 0; subset < 1u << some.size(); ++subset) {
      std::vector<Expression> all = values;
      for (size_t j = 0; j < some.size(); ++j)
        if (subset >> j & 1) all.push_back(matched(some[j].names) ? some[j].value : kNever);
      made.push_back(node_of(program_.pools.expressions.both(std::move(all))));
    }
    return made;
  }

  // A value of the kind exists if one exists by what is known so far: the least fixed point.
  void find_possible() {
    possible_.assign(program_.nodes.size(), false);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = program_.nodes.size(); i-- > 0;) {  // those that others need were mostly added later
        const JsonNode& node = program_.nodes[i];
        if (possible_[i]) continue;
        bool found = node.null || node.booleans[0] || node.booleans[1] || node.numbers >= 0 || node.strings >= 0;
        for (size_t k = 0; k < node.arrays.size() && !found; ++k) found = possible_array(node.arrays[k]);
        for (size_t k = 0; k < node.objects.size() && !found; ++k) found = possible_object(node.objects[k]);
        changed |= found;
        possible_[i] = found;
      }
    }
  }

  void keep_possible(Choices& choices) const {
    for (uint32_t& node : choices)
      if (node != kNoNode && !possible_[node]) node = kNoNode;
  }

  bool possible_array(uint32_t number) const {
    ArrayForm form = program_.arrays[number];
    for (Choices& choices : form.items) keep_possible(choices);
    return can_finish(form, 0, std::vector<uint32_t>(form.counts.size()));
  }

  bool possible_object(uint32_t number) {
    ObjectForm& form = program_.objects[number];
    const std::vector<Choices> values = form.values;
    const std::vector<ObjectForm::Other> others = form.others;
    finish(form);
    const bool found = can_begin(form);
    form.values = values;
    form.others = others;
    return found;
  }

  // Without what is not possible.
  void finish(ObjectForm& form) {
    RegexPool& regexes = program_.pools.regexes;
    form.allowed = NameBits(form.names.size());
    for (size_t i = 0; i < form.names.size(); ++i) {
      keep_possible(form.values[i]);
      if (form.values[i][0] != kNoNode) form.allowed.add(i);
    }
    std::vector<Regex> names;
    for (auto& other : form.others) {
      keep_possible(other.values);
      if (other.values[0] != kNoNode) names.push_back(other.names);
    }
    std::erase_if(form.others, [](const ObjectForm::Other& other) { return other.values[0] == kNoNode; });
    // All classes together are every name: no need to say it by parts.
    form.any_other = names.size() == form.others.size() && covers_all(names) ? kAnyText : regexes.either(names);
    form.n_others = regexes.count(form.any_other);
    if (form.n_others != kInfinite)
      for (const std::string& name : form.names) form.n_others -= regexes.matches(form.any_other, name);
  }

  bool covers_all(const std::vector<Regex>& names) {
    if (names.size() < 2) return false;
    RegexPool& regexes = program_.pools.regexes;
    return !regexes.alive(regexes.complement(regexes.either(names)));
  }

  static bool can_begin(const ObjectForm& form) {
    const uint32_t needed = members_needed(form, NameBits(form.names.size()), (1u << form.n_some) - 1);
    const uint64_t available = form.n_others == kInfinite ? kInfinite : form.n_others + form.allowed.count();
    return form.demanded.without(form.allowed).count() == 0 && needed != kNoNode && needed <= form.most &&
           form.least <= available;
  }

  void remove_impossible() {
    std::vector<bool> arrays, objects;
    for (ArrayForm& form : program_.arrays) {
      for (Choices& choices : form.items) keep_possible(choices);
      form.known_to_end.clear();
      arrays.push_back(can_finish(form, 0, std::vector<uint32_t>(form.counts.size())));
    }
    for (ObjectForm& form : program_.objects) {
      finish(form);
      objects.push_back(can_begin(form));
    }
    for (JsonNode& node : program_.nodes) {
      std::erase_if(node.arrays, [&](uint32_t form) { return !arrays[form]; });
      std::erase_if(node.objects, [&](uint32_t form) { return !objects[form]; });
    }
    if (program_.root != kNoNode && !possible_[program_.root]) program_.root = kNoNode;
  }

  const SchemaDocument& document_;
  SchemaCompiler compiler_;
  JsonProgram& program_;
  std::vector<Expression> wanted_;  // by node
  std::unordered_map<Expression, uint32_t> numbers_;
  std::map<ArrayShape, uint32_t> array_numbers_;
  std::map<ObjectShape, uint32_t> object_numbers_;
  std::vector<bool> possible_;
};

}  // namespace

std::unique_ptr<JsonProgram> compile_program(const SchemaDocument& document, bool formats) {
  auto program = std::make_unique<JsonProgram>();
  program->any_string = program->strings.start(kAnyText);
  try {
    Builder(document, *program, formats).build();
  } catch (const Refusal&) {
    throw;
  } catch (const Error& error) {  // a limit of the pools
    throw Refusal("", error.what());
  }
  return program;
}

}  // namespace hearth::grammar
