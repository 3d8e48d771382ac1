#include "runtime/jinja/template.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/parser.h"

namespace hearth::jinja {

namespace {

using Json = nlohmann::ordered_json;

// Turns JSON into values. Each string that is a value has the source `first` + its number if `numbered`, else `first`.
class Importer {
 public:
  Importer(const std::string& name, int first, bool numbered) : name_(name), first_(first), numbered_(numbered) {}

  int strings() const { return strings_; }

  Value value(const Json& json, int depth = 1) {
    require(depth <= kMaxValueDepth, ErrorKind::usage, "{}: expected values nested at most {} deep, found deeper",
            name_, kMaxValueDepth);
    switch (json.type()) {
      case Json::value_t::boolean:
        return {json.get<bool>(), first_};
      case Json::value_t::number_integer:
        return {json.get<int64_t>(), first_};
      case Json::value_t::number_unsigned:
        require(json.get<uint64_t>() <= INT64_MAX, ErrorKind::usage, "{}: expected numbers of at most {}, found {}",
                name_, INT64_MAX, json.get<uint64_t>());
        return {json.get<int64_t>(), first_};
      case Json::value_t::number_float:
        return {json.get<double>(), first_};
      case Json::value_t::string:
        return text(json.get_ref<const std::string&>(), numbered_ ? first_ + strings_++ : first_);
      case Json::value_t::array:
        return list(json, depth);
      case Json::value_t::object:
        return dict(json, depth);
      default:
        return {};
    }
  }

 private:
  static Value text(const std::string& bytes, int source) {
    return std::shared_ptr<const CountedText>(new CountedText{Text(bytes, source), {}, false});
  }

  Value list(const Json& json, int depth) {
    auto list = std::make_shared<List>();
    for (const Json& item : json) {
      list->items.push_back(value(item, depth + 1));
      list->depth = std::max(list->depth, depth_of(list->items.back()) + 1);
    }
    return std::shared_ptr<const List>(std::move(list));
  }

  Value dict(const Json& json, int depth) {
    auto dict = std::make_shared<Dict>();
    for (const auto& [key, item] : json.items()) {
      dict->entries.emplace_back(text(key, first_), value(item, depth + 1));
      dict->depth = std::max(dict->depth, depth_of(dict->entries.back().second) + 1);
    }
    return std::shared_ptr<const Dict>(std::move(dict));
  }

  const std::string& name_;
  int first_;
  bool numbered_;
  int strings_ = 0;
};

}  // namespace

// --- Variables.

struct Variables::Impl {
  Context context;
  std::optional<std::time_t> now;

  void set(const std::string& name, Value value) {
    for (auto& [key, old] : context) {
      if (key != name) continue;
      old = std::move(value);
      return;
    }
    context.emplace_back(name, std::move(value));
  }
};

Variables::Variables() : impl_(std::make_unique<Impl>()) {}
Variables::~Variables() = default;
Variables::Variables(Variables&&) noexcept = default;
Variables& Variables::operator=(Variables&&) noexcept = default;

void Variables::set(const std::string& name, const nlohmann::ordered_json& value, int source) {
  impl_->set(name, Importer(name, source, false).value(value));
}

int Variables::set_numbered(const std::string& name, const nlohmann::ordered_json& value, int first_source) {
  Importer importer(name, first_source, true);
  impl_->set(name, importer.value(value));
  return importer.strings();
}

void Variables::set_now(int64_t seconds) {
  impl_->now = seconds;
}

// --- Template.

struct Template::Impl {
  std::string name;
  ParsedTemplate parsed;
};

Template::Template(std::string_view source, std::string name) : impl_(std::make_unique<Impl>()) {
  impl_->name = std::move(name);
  impl_->parsed = parse(source, impl_->name);
}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::vector<Piece> Template::render(const Variables& variables, const Limits& limits) const {
  Budget budget(limits, impl_->name);
  const std::time_t clock = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  Interpreter interpreter(variables.impl_->context, variables.impl_->now.value_or(clock), budget);
  const Text text = interpreter.render(impl_->parsed.body);
  std::vector<Piece> pieces;
  text.each_run([&](std::string_view bytes, int source) { pieces.push_back({std::string(bytes), source}); });
  return pieces;
}

bool Template::reads(std::string_view variable) const {
  return impl_->parsed.reads.find(variable) != impl_->parsed.reads.end();
}

}  // namespace hearth::jinja
