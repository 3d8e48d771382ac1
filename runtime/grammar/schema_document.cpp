#include "runtime/grammar/schema_document.h"

#include <charconv>
#include <set>

#include "runtime/grammar/refusal.h"
#include "runtime/grammar/uri.h"

namespace hearth::grammar {
namespace {

using Kind = JsonValue::Kind;

const std::set<std::string, std::less<>>
    kHoldsSchema =
        {"additionalItems",  "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
         "unevaluatedItems", "unevaluatedProperties"},
    kHoldsSchemas = {"allOf", "anyOf", "items", "oneOf", "prefixItems"},
    kHoldsNamed = {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"};

int draft_named(std::string_view uri) {
  for (const std::string_view start : {"http://", "https://"})
    if (uri.starts_with(start)) uri.remove_prefix(start.size());
  if (uri.ends_with("#")) uri.remove_suffix(1);
  static const std::pair<std::string_view, int> kDrafts[] = {
      {"json-schema.org/draft-04/schema", 4},         {"json-schema.org/draft-06/schema", 6},
      {"json-schema.org/draft-07/schema", 7},         {"json-schema.org/draft/2019-09/schema", 2019},
      {"json-schema.org/draft/2020-12/schema", 2020}, {"json-schema.org/schema", 2020}};
  for (const auto& [name, draft] : kDrafts)
    if (uri == name) return draft;
  return 0;
}

const JsonValue* text_member(const JsonValue& schema, std::string_view name) {
  const JsonValue* value = schema.find(name);
  return value && value->is(Kind::string) ? value : nullptr;
}

// One step of a JSON pointer; nullptr: there is nothing.
const JsonValue* step(const JsonValue& from, const std::string& part) {
  if (from.is(Kind::object)) return from.find(part);
  size_t index = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
  if (!from.is(Kind::array) || error != std::errc() || end != part.data() + part.size() || index >= from.items.size())
    return nullptr;
  return &from.items[index];
}

const JsonValue* at_pointer(const JsonValue& root, std::string_view pointer) {
  const JsonValue* at = &root;
  while (at && !pointer.empty()) {
    const size_t end = pointer.find('/', 1);
    std::string part;
    const std::string_view escaped = pointer.substr(1, end == pointer.npos ? end : end - 1);
    for (size_t i = 0; i < escaped.size(); ++i) {
      const bool tilde = escaped[i] == '~' && i + 1 < escaped.size();
      part += tilde ? (escaped[i + 1] == '0' ? '~' : '/') : escaped[i];
      i += tilde;
    }
    at = step(*at, part);
    pointer = end == pointer.npos ? "" : pointer.substr(end);
  }
  return at;
}

bool find_pointer(const JsonValue& from, const JsonValue* wanted, std::string& pointer) {
  if (&from == wanted) return true;
  const size_t length = pointer.size();
  for (size_t i = 0; i < from.items.size(); ++i) {
    pointer += "/" + std::to_string(i);
    if (find_pointer(from.items[i], wanted, pointer)) return true;
    pointer.resize(length);
  }
  for (const auto& [name, value] : from.members) {
    pointer += "/" + pointer_part(name);
    if (find_pointer(value, wanted, pointer)) return true;
    pointer.resize(length);
  }
  return false;
}

}  // namespace

std::string pointer_part(std::string_view name) {
  std::string part;
  for (const char c : name) {
    if (c == '~')
      part += "~0";
    else if (c == '/')
      part += "~1";
    else
      part += c;
  }
  return part;
}

SchemaDocument::SchemaDocument(std::string_view text, int draft) : root_(parse_json(text)), draft_(draft) {
  if (const JsonValue* named = root_.find("$schema")) {
    if (!named->is(Kind::string)) throw Refusal("/$schema", "expected a string");
    const int found = draft_named(named->text);
    if (draft == 0) draft_ = found;
    if (found == 0)  // another vocabulary, whatever the caller thinks of it
      throw Refusal("/$schema", fmt::format("expected draft 4, 6, 7, 2019-09 or 2020-12, found {}", named->text));
  }
  if (draft_ == 0) draft_ = 2020;
  resources_[""] = &root_;
  index(root_, "");
}

void SchemaDocument::index(const JsonValue& schema, std::string base) {
  bases_[&schema] = base;
  if (!schema.is(Kind::object)) return;
  const bool alone = draft_ <= 7 && schema.find("$ref");  // what stands beside it says nothing
  if (const JsonValue* id = text_member(schema, draft_ == 4 ? "id" : "$id"); id && !alone) {
    std::string uri = resolve_uri(base, id->text);
    const size_t hash = uri.find('#');
    if (hash == uri.npos || hash + 1 == uri.size()) {
      base = uri.substr(0, hash);
      resources_.try_emplace(base, &schema);
      bases_[&schema] = base;
    } else {
      resources_.try_emplace(uri, &schema);  // "#name": an anchor of drafts 4 to 7
    }
  }
  for (const char* keyword : {"$anchor", "$dynamicAnchor"}) {
    const JsonValue* anchor = draft_ >= 2019 ? text_member(schema, keyword) : nullptr;
    if (!anchor) continue;
    resources_.try_emplace(base + "#" + anchor->text, &schema);
    if (keyword[1] == 'd') ++dynamic_anchors_[anchor->text];
  }
  index_below(schema, base);
}

void SchemaDocument::index_below(const JsonValue& schema, const std::string& base) {
  for (const auto& [name, value] : schema.members) {
    if (kHoldsSchema.contains(name) && !value.is(Kind::array)) index(value, base);
    if (kHoldsSchemas.contains(name))
      for (const JsonValue& item : value.items) index(item, base);
    if (kHoldsNamed.contains(name))
      for (const auto& [key, member] : value.members) index(member, base);
  }
}

const JsonValue* SchemaDocument::target(const JsonValue* schema, std::string_view reference) const {
  const auto base = bases_.find(schema);
  const std::string uri = resolve_uri(base == bases_.end() ? "" : base->second, reference);
  const size_t hash = uri.find('#');
  const std::string resource = uri.substr(0, hash);
  const std::string fragment = hash == uri.npos ? "" : percent_decoded(std::string_view(uri).substr(hash + 1));
  const auto found = resources_.find(resource);
  const JsonValue* at = nullptr;
  if (fragment.empty() || fragment[0] == '/') {
    if (found != resources_.end()) at = at_pointer(*found->second, fragment);
  } else if (const auto anchor = resources_.find(resource + "#" + fragment); anchor != resources_.end()) {
    at = anchor->second;
  }
  if (!at) throw Refusal(pointer_to(schema) + "/$ref", fmt::format("{} is not in this document", reference));
  return at;
}

size_t SchemaDocument::dynamic_anchors(std::string_view name) const {
  const auto found = dynamic_anchors_.find(std::string(name));
  return found == dynamic_anchors_.end() ? 0 : found->second;
}

std::string SchemaDocument::pointer_to(const JsonValue* value) const {
  std::string pointer;
  return find_pointer(root_, value, pointer) ? pointer : "";
}

}  // namespace hearth::grammar
