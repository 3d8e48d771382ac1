#include "runtime/server/http_keys.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "quant/error.h"

namespace hearth::server {

std::vector<std::string> read_api_keys(const std::string& path) {
  std::ifstream in(path);
  require(in.is_open(), ErrorKind::file, "cannot open the file of API keys {}: {}", path, std::strerror(errno));
  std::vector<std::string> keys;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos || line[begin] == '#') continue;
    const std::string key = line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
    const bool sendable = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; });
    require(sendable, ErrorKind::usage, "{}:{}: expected one API key, of letters, digits and signs without spaces",
            path, number);
    keys.push_back(key);
  }
  require(!in.bad(), ErrorKind::file, "cannot read the file of API keys {}: {}", path, std::strerror(errno));
  require(!keys.empty(), ErrorKind::usage, "{}: expected API keys, one a line, found none", path);
  return keys;
}

bool equal_in_constant_time(std::string_view expected, std::string_view found) {
  unsigned difference = expected.size() != found.size() || expected.empty();
  for (size_t i = 0; i < found.size() && !expected.empty(); ++i)
    difference |= unsigned(static_cast<unsigned char>(expected[i % expected.size()] ^ found[i]));
  // Nobody may conclude that the rest of the loop no longer matters.
  const volatile unsigned result = difference;
  return result == 0;
}

bool is_one_of(const std::vector<std::string>& keys, std::string_view found) {
  bool any = false;
  for (const std::string& key : keys) any |= equal_in_constant_time(key, found);
  return any;
}

}  // namespace hearth::server
