#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/grammar/json_value.h"
#include "runtime/grammar/pattern.h"

namespace hearth::grammar {
namespace {

// Unicode 15, PropertyValueAliases.txt, gc.
const std::map<std::string, std::string, std::less<>> kCategories = {{"Other", "C"},
                                                                     {"Control", "Cc"},
                                                                     {"Format", "Cf"},
                                                                     {"Unassigned", "Cn"},
                                                                     {"Private_Use", "Co"},
                                                                     {"Surrogate", "Cs"},
                                                                     {"Letter", "L"},
                                                                     {"Cased_Letter", "L&"},
                                                                     {"LC", "L&"},
                                                                     {"Lowercase_Letter", "Ll"},
                                                                     {"Modifier_Letter", "Lm"},
                                                                     {"Other_Letter", "Lo"},
                                                                     {"Titlecase_Letter", "Lt"},
                                                                     {"Uppercase_Letter", "Lu"},
                                                                     {"Mark", "M"},
                                                                     {"Combining_Mark", "M"},
                                                                     {"Spacing_Mark", "Mc"},
                                                                     {"Enclosing_Mark", "Me"},
                                                                     {"Nonspacing_Mark", "Mn"},
                                                                     {"Number", "N"},
                                                                     {"Decimal_Number", "Nd"},
                                                                     {"digit", "Nd"},
                                                                     {"Letter_Number", "Nl"},
                                                                     {"Other_Number", "No"},
                                                                     {"Punctuation", "P"},
                                                                     {"punct", "P"},
                                                                     {"Connector_Punctuation", "Pc"},
                                                                     {"Dash_Punctuation", "Pd"},
                                                                     {"Close_Punctuation", "Pe"},
                                                                     {"Final_Punctuation", "Pf"},
                                                                     {"Initial_Punctuation", "Pi"},
                                                                     {"Other_Punctuation", "Po"},
                                                                     {"Open_Punctuation", "Ps"},
                                                                     {"Symbol", "S"},
                                                                     {"Currency_Symbol", "Sc"},
                                                                     {"Modifier_Symbol", "Sk"},
                                                                     {"Math_Symbol", "Sm"},
                                                                     {"Other_Symbol", "So"},
                                                                     {"Separator", "Z"},
                                                                     {"Line_Separator", "Zl"},
                                                                     {"Paragraph_Separator", "Zp"},
                                                                     {"Space_Separator", "Zs"}};

const std::string& every_code_point() {
  static const std::string text = [] {
    std::string made;
    const CodePointSet all = CodePointSet::all();
    for (const auto& [first, last] : all.ranges())
      for (uint32_t c = first; c <= last; ++c) append_utf8(made, c);
    return made;
  }();
  return text;
}

CodePointSet matched(const std::string& pattern) {
  int error = 0;
  size_t offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF, &error, &offset, nullptr),
      pcre2_code_free);
  if (!code) return {};
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> found(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const std::string& text = every_code_point();
  std::vector<CodePointSet::Range> ranges;
  for (size_t at = 0; pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                  PCRE2_NO_UTF_CHECK, found.get(), nullptr) > 0;) {
    const size_t* ends = pcre2_get_ovector_pointer(found.get());
    size_t last = ends[1] - 1;
    while ((static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    ranges.emplace_back(code_points_of(std::string_view(text).substr(ends[0], 4))[0],
                        code_points_of(std::string_view(text).substr(last, ends[1] - last))[0]);
    at = ends[1];
  }
  return CodePointSet(std::move(ranges)).intersected(CodePointSet::all());
}

}  // namespace

CodePointSet unicode_property(std::string_view name) {
  for (const std::string_view prefix : {"General_Category=", "gc="})
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  if (name == "Any") return CodePointSet::all();
  if (name == "ASCII") return CodePointSet({{0, 0x7F}});
  if (name == "Assigned") return unicode_property("Cn").complement();
  std::string category(name);
  if (const auto it = kCategories.find(name); it != kCategories.end()) category = it->second;
  bool known = false;
  for (const auto& [alias, own] : kCategories) known |= own == category;
  if (!known) return {};
  static std::mutex mutex;
  static std::map<std::string, CodePointSet> kept;
  const std::lock_guard lock(mutex);
  const auto [it, added] = kept.try_emplace(category);
  if (added) it->second = matched("\\p{" + category + "}+");
  return it->second;
}

}  // namespace hearth::grammar
