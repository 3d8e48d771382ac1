// What `format` asserts, where it asserts something (JSON Schema 2020-12, validation, section 7.3), as patterns.
#include <map>

#include "runtime/grammar/schema_compiler.h"

namespace hearth::grammar {
namespace {

// RFC 3339: days that months have, the 29th of February in leap years.
const std::string kDate =
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|"
    "02-(?:0[1-9]|1\\d|2[0-8]))|"
    "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
// A leap second in UTC alone.
const std::string kTime =
    "(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)|"
    "23:59:60(?:\\.\\d+)?(?:[Zz]|[+-]00:00))";
// RFC 1123.
const std::string kLabel = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const std::string kHostname = kLabel + "(?:\\." + kLabel + ")*";
// RFC 2673, section 3.2, and RFC 4291, section 2.2.
const std::string kOctet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const std::string kIpv4 = kOctet + "(?:\\." + kOctet + "){3}";

std::string ipv6() {
  const std::string group = "[0-9A-Fa-f]{1,4}", last = "(?:" + group + ":" + group + "|" + kIpv4 + ")";
  std::string all = "(?:(?:" + group + ":){6}" + last;
  for (int after = 5; after >= 0; --after)  // groups behind "::", besides the last two
    all += "|(?:(?:" + group + ":){0," + std::to_string(5 - after - 1 < 0 ? 0 : 5 - after - 1) + "}" + group +
           ")?::(?:" + group + ":){" + std::to_string(after) + "}" + last;
  return all + "|(?:(?:" + group + ":){0,5}" + group + ")?::" + group + "|(?:(?:" + group + ":){0,6}" + group + ")?::)";
}

// RFC 3986, appendix A.
std::string uri() {
  const std::string escaped = "%[0-9A-Fa-f]{2}", plain = "A-Za-z0-9._~!$&'()*+,;=\\-";
  const std::string character = "(?:[" + plain + ":@]|" + escaped + ")";
  const std::string authority = "(?:(?:[" + plain + ":]|" + escaped + ")*@)?(?:\\[(?:" + ipv6() +
                                "|[vV][0-9A-Fa-f]+\\.[" + plain + ":]+)\\]|(?:[" + plain + "]|" + escaped +
                                ")*)(?::\\d*)?";
  return "[A-Za-z][A-Za-z0-9+.-]*:(?://" + authority + "(?:/" + character + "*)*|/(?:" + character + "+(?:/" +
         character + "*)*)?|" + character + "+(?:/" + character + "*)*|)(?:\\?(?:" + character +
         "|[/?])*)?(?:#(?:" + character + "|[/?])*)?";
}

// RFC 5321, section 4.1.2, without quoted strings.
std::string email() {
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  return atom + "(?:\\." + atom + ")*@(?:" + kHostname + "|\\[(?:" + kIpv4 + "|IPv6:" + ipv6() + ")\\])";
}

const std::map<std::string, std::string, std::less<>>& patterns() {
  static const std::map<std::string, std::string, std::less<>> all = {
      {"date", kDate},
      {"time", kTime},
      {"date-time", kDate + "[Tt]" + kTime},
      // RFC 3339, appendix A.
      {"duration",
       "P(?:\\d+W|(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)(?:T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|"
       "\\d+M(?:\\d+S)?|\\d+S))?|T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S))"},
      {"email", email()},
      {"hostname", kHostname},
      {"ipv4", kIpv4},
      {"ipv6", ipv6()},
      {"uuid", "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"},
      {"uri", uri()},
      {"json-pointer", "(?:/(?:[^~/]|~[01])*)*"},
  };
  return all;
}

// That the standard has and that are no regular language of a size that one would write, or that nobody asked for yet.
constexpr std::string_view kOthers[] = {
    "idn-email",    "idn-hostname",          "iri",  "iri-reference", "uri-reference",
    "uri-template", "relative-json-pointer", "regex"};

}  // namespace

void SchemaCompiler::format(SchemaParts& parts, const JsonValue& value) {
  if (!formats_) return;
  const std::string& name = expect(value, Kind::string, "the name of a format").text;
  for (const std::string_view other : kOthers)
    if (name == other) refuse(value, fmt::format("format {} cannot be asserted", name));
  const auto found = patterns().find(name);
  if (found == patterns().end()) return;  // nobody's but the schema's author's
  std::vector<Regex> all = {parts.strings, pattern(value, "^(?:" + found->second + ")$")};
  if (name == "hostname") all.push_back(pools_.regexes.any_of_length(1, 253));
  parts.strings = pools_.regexes.both(std::move(all));
}

}  // namespace hearth::grammar
