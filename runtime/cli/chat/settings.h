// The settings of a chat by name, as /set knows them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "runtime/chat/chat_template.h"
#include "runtime/cli/chat/chat_state.h"
#include "runtime/engine/sampler.h"

namespace hearth::cli {

// "temperature", "top_p", ...; in the order in which they are shown.
std::span<const std::string_view> setting_names();

// `settings` with one changed. The numbers are read, and refused, by the options of the command line. "default" is what
// it is in `at_start`; "off" is no system message, no stop texts, no limit. The name may be the option's too ("temp",
// "top-p"), and of `stop` each text is added to those before. Throws Error(usage) that begins with the name: no such
// setting, and which one may be meant; not such a value.
ChatSettings with_setting(ChatSettings settings, const std::string& name, const std::string& value,
                          const ChatSettings& at_start);

// "temperature        0.7", a line for one of them. Throws Error(usage): no such setting.
//   sampling: in effect
std::string setting_line(const std::string& name, const ChatSettings& settings, const SamplerOptions& sampling,
                         const ChatTemplate& format);

}  // namespace hearth::cli
