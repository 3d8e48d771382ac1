#include "runtime/cli/numbers.h"

#include <charconv>
#include <functional>
#include <limits>
#include <random>

#include "quant/error.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t") + 1 - first));
}

// The whole of `text`; false: it is no such number, or one too large.
template <class T>
bool read_number(const std::string& text, T& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

// What `parse` makes of the text. CLI11 names the option before what went wrong.
CLI::Validator parsed_by(const std::function<std::string(const std::string&)>& parse) {
  return CLI::Validator(
      [parse](std::string& text) -> std::string {
        try {
          text = parse(text);
          return "";
        } catch (const Error& error) {
          return error.what();
        }
      },
      "");
}

// The parsers of runtime/ begin with the option's name.
constexpr std::string_view kUnnamed = "value";
std::string without_name(const Error& error) {
  const std::string_view message = error.what();
  return std::string(message.substr(kUnnamed.size() + 2));
}

std::string tokens_text(const std::string& text, int64_t least, int64_t most) {
  try {
    return std::to_string(parse_token_count(text, kUnnamed, least, most));
  } catch (const Error& error) {
    throw Error(error.kind, without_name(error));
  }
}

uint64_t size_of(const std::string& text) {
  try {
    return parse_size(text, kUnnamed);
  } catch (const Error& error) {
    throw Error(error.kind, without_name(error));
  }
}

uint64_t drawn_seed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

}  // namespace

CLI::Validator whole_number(int64_t least, int64_t most) {
  return parsed_by([=](const std::string& text) {
    int64_t number = 0;
    const bool ok = read_number(trimmed(text), number) && number >= least && number <= most;
    require(ok, ErrorKind::usage, "expected a whole number from {} to {}, found \"{}\"", least, most, text);
    return std::to_string(number);
  });
}

CLI::Validator decimal_number(double least, double most) {
  return parsed_by([=](const std::string& text) {
    const std::string digits = trimmed(text);
    double number = 0;
    const bool ok = read_number(digits, number) && number >= least && number <= most;  // never true of nan
    require(ok, ErrorKind::usage, "expected a number from {} to {}, found \"{}\"", least, most, text);
    return digits;
  });
}

CLI::Validator token_count(int64_t least, int64_t most) {
  return parsed_by([=](const std::string& text) { return tokens_text(text, least, most); });
}

CLI::Validator context_length() {
  return parsed_by([](const std::string& text) {
    return trimmed(text) == "0" ? std::to_string(kWholeContext) : tokens_text(text, 1, kMostTokens);
  });
}

CLI::Validator answer_length() {
  return parsed_by([](const std::string& text) {
    return trimmed(text) == "-1" ? std::string("-1") : tokens_text(text, 1, kMostTokens);
  });
}

CLI::Validator memory_size() {
  return parsed_by([](const std::string& text) {
    size_of(text);
    return text;
  });
}

CLI::Validator memory_bytes() {
  return parsed_by([](const std::string& text) { return std::to_string(size_of(text)); });
}

CLI::Validator seed_number() {
  return parsed_by([](const std::string& typed) {
    const std::string text = trimmed(typed);
    if (text == "random" || text == "-1") return std::to_string(drawn_seed());
    uint64_t seed = 0;
    require(read_number(text, seed), ErrorKind::usage, "expected a number from 0 to {} or random, found \"{}\"",
            std::numeric_limits<uint64_t>::max(), typed);
    return std::to_string(seed);
  });
}

std::vector<Token> parse_token_ids(std::string_view text, std::string_view option) {
  std::vector<Token> tokens;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    Token token = 0;
    const bool ok = read_number(trimmed(text.substr(begin, end - begin)), token) && token >= 0;
    require(ok, ErrorKind::usage, "{}: expected ids separated by commas, such as 1,2,3, found \"{}\"", option, text);
    tokens.push_back(token);
    begin = end + 1;
  }
  return tokens;
}

}  // namespace hearth::cli
