// Errors: bad input (a file, a flag, a device) ends in one Error whose message names what was expected and found.
// `assert` is for our own mistakes and cannot be reached from a file.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace hearth {

enum class ErrorKind {
  usage,        // a wrong flag or combination of flags
  file,         // cannot open, read or write: the operating system said no
  format,       // bytes that are not what their container promises: truncated, corrupt, foreign
  model,        // a well-formed file of a model that we do not support, or with tensors of the wrong shape
  resource,     // out of memory, context too long, no such device
  interrupted,  // Ctrl-C
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
  ErrorKind kind;
};

// Throws Error with the formatted message.
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error with the formatted message unless `ok`.
template <class... Args>
void require(bool ok, ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace hearth
