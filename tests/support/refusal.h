// What an action says when it refuses.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "quant/error.h"

namespace hearth::test {

// The message of the Error that `action` throws; empty if it throws none.
inline std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace hearth::test
