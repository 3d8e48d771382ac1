// A schema's text: its draft, where its parts are, and what `$ref` leads to.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "runtime/grammar/json_value.h"

namespace hearth::grammar {

class SchemaDocument {
 public:
  // `draft`: 4, 6, 7, 2019 or 2020; 0: what `$schema` says, else 2020. Throws Refusal.
  SchemaDocument(std::string_view text, int draft);
  SchemaDocument(const SchemaDocument&) = delete;

  const JsonValue& root() const { return root_; }
  int draft() const { return draft_; }
  // Where `reference`, which stands in `schema`, leads to. Throws Refusal, its place that of `schema`: not in here.
  const JsonValue* target(const JsonValue* schema, std::string_view reference) const;
  size_t dynamic_anchors(std::string_view name) const;   // how many have it
  std::string pointer_to(const JsonValue* value) const;  // RFC 6901

 private:
  void index(const JsonValue& schema, std::string base);
  void index_below(const JsonValue& schema, const std::string& base);

  JsonValue root_;
  int draft_;
  std::unordered_map<const JsonValue*, std::string> bases_;      // of every schema
  std::unordered_map<std::string, const JsonValue*> resources_;  // by URI; anchors with their fragment
  std::unordered_map<std::string, size_t> dynamic_anchors_;
};

// The name as a part of a JSON pointer.
std::string pointer_part(std::string_view name);

}  // namespace hearth::grammar
