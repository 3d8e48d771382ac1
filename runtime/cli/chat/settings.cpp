#include "runtime/cli/chat/settings.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "quant/error.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/chat_options.h"
#include "runtime/cli/files.h"
#include "runtime/cli/sampler_options.h"

namespace hearth::cli {
namespace {

struct Shown {
  const ChatSettings& settings;
  const SamplerOptions& sampling;
  const ChatTemplate& format;
};

struct Setting {
  std::string_view name, option;  // of the command line, which reads the value; "": `read` does
  std::string (*shown)(const Shown&);
  void (*copy)(ChatSettings& to, const ChatSettings& from);
  void (*read)(ChatSettings& settings, const std::string& value) = nullptr;
};

std::string on_or_off(bool on) {
  return on ? "on" : "off";
}
bool read_switch(const std::string& value) {
  require(value == "on" || value == "off", ErrorKind::usage, "expected on, off or default, found \"{}\"", value);
  return value == "on";
}

template <auto Option>
std::string shown_number(const Shown& shown) {
  return fmt::format("{}", shown.sampling.*Option);
}
template <auto Choice>
void copy_choice(ChatSettings& to, const ChatSettings& from) {
  to.sampling.*Choice = from.sampling.*Choice;
}
template <auto Member>
void copy_member(ChatSettings& to, const ChatSettings& from) {
  to.*Member = from.*Member;
}

std::string shown_length(const Shown& shown) {
  return shown.settings.max_tokens < 0 ? "off" : std::to_string(shown.settings.max_tokens);
}
std::string shown_system(const Shown& shown) {
  return shown.settings.system.empty() ? "off" : shown.settings.system;
}
std::string shown_stops(const Shown& shown) {
  std::string all;
  for (const std::string& stop : shown.settings.stops) all += fmt::format("{}\"{}\"", all.empty() ? "" : " ", stop);
  return all.empty() ? "off" : all;
}
std::string shown_think(const Shown& shown) {
  if (shown.settings.think) return on_or_off(*shown.settings.think);
  return shown.format.can_switch_thinking() ? "as the template has it" : "cannot be switched with this template";
}
std::string shown_hiding(const Shown& shown) {
  return on_or_off(shown.settings.hide_thoughts);
}

void read_system(ChatSettings& settings, const std::string& value) {
  settings.system = value == "off" ? "" : value;
}
void read_stop(ChatSettings& settings, const std::string& value) {
  if (value == "off")
    settings.stops.clear();
  else
    settings.stops.push_back(value);
}
void read_think(ChatSettings& settings, const std::string& value) {
  settings.think = read_switch(value);
}
void read_hiding(ChatSettings& settings, const std::string& value) {
  settings.hide_thoughts = read_switch(value);
}

using Choices = SamplingChoices;
using Options = SamplerOptions;

constexpr Setting kSettings[] = {
    {"temperature", "--temp", shown_number<&Options::temperature>, copy_choice<&Choices::temperature>},
    {"top_p", "--top-p", shown_number<&Options::top_p>, copy_choice<&Choices::top_p>},
    {"top_k", "--top-k", shown_number<&Options::top_k>, copy_choice<&Choices::top_k>},
    {"min_p", "--min-p", shown_number<&Options::min_p>, copy_choice<&Choices::min_p>},
    {"repeat_penalty", "--repeat-penalty", shown_number<&Options::repetition_penalty>,
     copy_choice<&Choices::repetition_penalty>},
    {"repeat_window", "--repeat-window", shown_number<&Options::repetition_window>,
     copy_choice<&Choices::repetition_window>},
    {"frequency_penalty", "--frequency-penalty", shown_number<&Options::frequency_penalty>,
     copy_choice<&Choices::frequency_penalty>},
    {"presence_penalty", "--presence-penalty", shown_number<&Options::presence_penalty>,
     copy_choice<&Choices::presence_penalty>},
    {"seed", "--seed", shown_number<&Options::seed>, copy_choice<&Choices::seed>},
    {"max_tokens", "--max-tokens", shown_length, copy_member<&ChatSettings::max_tokens>},
    {"stop", "", shown_stops, copy_member<&ChatSettings::stops>, read_stop},
    {"system", "", shown_system, copy_member<&ChatSettings::system>, read_system},
    {"think", "", shown_think, copy_member<&ChatSettings::think>, read_think},
    {"hide_thoughts", "", shown_hiding, copy_member<&ChatSettings::hide_thoughts>, read_hiding},
};

// "top_p", "top-p", "temp" for --temp.
const Setting& setting_named(const std::string& name) {
  std::string word = name;
  std::ranges::replace(word, '-', '_');
  for (const Setting& setting : kSettings) {
    std::string option(setting.option.substr(std::min<size_t>(setting.option.size(), 2)));
    std::ranges::replace(option, '-', '_');
    if (word == setting.name || (!option.empty() && word == option)) return setting;
  }
  const std::string_view meant = nearest_word(word, setting_names());
  fail(ErrorKind::usage, "{}: no such setting{} (/set lists them)", name.substr(0, 60),
       meant.empty() ? "" : fmt::format(": did you mean {}?", meant));
}

// By the parser of the command line, whose messages begin with the option.
void read_option(ChatSettings& settings, const Setting& setting, const std::string& value) {
  CLI::App options;
  options.set_help_flag();
  add_sampler_options(options, settings.sampling);
  add_length_option(options, settings.max_tokens);
  try {
    options.parse(std::vector<std::string>{fmt::format("{}={}", setting.option, value)});
  } catch (const CLI::ParseError& error) {
    const std::string message = error.what(), line = message.substr(0, message.find('\n'));
    const size_t named = line.starts_with(setting.option) ? setting.option.size() : line.find(':');
    fail(ErrorKind::usage, "{}{}", setting.name, line.substr(std::min(named, line.size())));
  }
}

}  // namespace

std::span<const std::string_view> setting_names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const Setting& setting : kSettings) all.push_back(setting.name);
    return all;
  }();
  return names;
}

ChatSettings with_setting(ChatSettings settings, const std::string& name, const std::string& value,
                          const ChatSettings& at_start) {
  const Setting& setting = setting_named(name);
  if (value == "default") {
    setting.copy(settings, at_start);
  } else if (setting.option.empty()) {
    try {
      setting.read(settings, value);
    } catch (const Error& error) {
      fail(error.kind, "{}: {}", setting.name, error.what());
    }
  } else {
    const bool no_limit = setting.name == "max_tokens" && value == "off";
    read_option(settings, setting, no_limit ? "-1" : value);
  }
  return settings;
}

std::string setting_line(const std::string& name, const ChatSettings& settings, const SamplerOptions& sampling,
                         const ChatTemplate& format) {
  const Setting& setting = setting_named(name);
  return fmt::format("{:18} {}", setting.name, setting.shown({settings, sampling, format}));
}

}  // namespace hearth::cli
