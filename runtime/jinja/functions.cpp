// Functions that every template has.
#include <ctime>

#include "runtime/jinja/objects.h"
#include "runtime/jinja/print.h"

namespace hearth::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

Value make_range(Interpreter& interpreter, const Value&, const Bound& args) {
  Budget& budget = interpreter.budget();
  Range range;
  int64_t stop = args.integer(0, 0);
  if (args.has(1)) {
    range.start = stop;
    stop = args.integer(1, 0);
  }
  range.stop = stop;
  range.step = args.integer(2, 1);
  if (range.step == 0) budget.fail("expected a step of range other than 0, found 0");
  const __int128 distance = __int128(stop) - range.start, step = range.step;
  const __int128 count = step > 0 ? (distance + step - 1) / step : (distance + step + 1) / step;
  if (count > kMaxRange) budget.fail("expected a range of at most {} numbers, found more", kMaxRange);
  range.count = count < 0 || (distance > 0) != (step > 0) ? 0 : int64_t(count);
  return range;
}

Entries entries_of(Interpreter& interpreter, const Arguments& arguments, const char* function) {
  Budget& budget = interpreter.budget();
  Entries entries;
  if (arguments.positional.size() > 1) budget.fail("expected at most one argument without a name for {}", function);
  for (const Value& from : arguments.positional) {
    if (from.dict() != nullptr) {
      entries = from.dict()->entries;
      continue;
    }
    for (const Value& pair : iterate(budget, from)) {
      const Values two = iterate(budget, pair);
      if (two.size() != 2) budget.fail("expected pairs for {}, found {} values", function, two.size());
      entries.emplace_back(two[0], two[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(Value::constant(name), value);
  return entries;
}

Value make_namespace(Interpreter& interpreter, const Value&, const Bound& args) {
  Budget& budget = interpreter.budget();
  const auto space = std::make_shared<Namespace>(Charge(budget, sizeof(Namespace)));
  interpreter.keep(space);
  for (const auto& [name, value] : entries_of(interpreter, args.all, "namespace"))
    if (name.is_text()) space->set(budget, name.text().bytes(), value);
  return std::shared_ptr<Object>(space);
}

Value make_dict_value(Interpreter& interpreter, const Value&, const Bound& args) {
  return make_dict(interpreter.budget(), entries_of(interpreter, args.all, "dict"));
}

Value make_cycler(Interpreter& interpreter, const Value&, const Bound& args) {
  return std::shared_ptr<Object>(std::make_shared<Cycler>(interpreter.budget(), args.all.positional));
}

Value make_joiner(Interpreter&, const Value&, const Bound& args) {
  return std::shared_ptr<Object>(std::make_shared<Joiner>(args.has(0) ? args[0] : Value::constant(", ")));
}

Value raise_exception(Interpreter& interpreter, const Value&, const Bound& args) {
  throw Error(ErrorKind::usage, to_text(interpreter.budget(), args[0]).bytes());
}

Value strftime_now(Interpreter& interpreter, const Value&, const Bound& args) {
  const Text& format = args.text(0);
  std::tm local{};
  const std::time_t now = interpreter.now();
  localtime_r(&now, &local);
  char buffer[1024];
  const std::string ended = format.bytes() + "|";  // so that an empty result is told from one that did not fit
  const size_t size = std::strftime(buffer, sizeof buffer, ended.c_str(), &local);
  if (size == 0)
    interpreter.budget().fail("expected a date of less than {} characters from strftime_now", sizeof buffer);
  return interpreter.text(Text(std::string(buffer, size - 1), format.any_source()));
}

constexpr Builtin kFunctions[] = {
    {"cycler", "...", make_cycler},
    {"dict", "...", make_dict_value},
    {"joiner", "/ sep", make_joiner},
    {"namespace", "...", make_namespace},
    {"raise_exception", "message", raise_exception},
    {"range", "start / stop step", make_range},
    {"strftime_now", "format", strftime_now},
};

}  // namespace

const Builtin* find_function(std::string_view name) {
  return find_in(kFunctions, name);
}

}  // namespace hearth::jinja
