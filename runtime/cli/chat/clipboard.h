// The clipboard of whoever sits at the terminal.
#pragma once

#include <string>
#include <string_view>

namespace hearth::cli {

// Puts a text there, by the first of these that works: wl-copy ($WAYLAND_DISPLAY is set), xclip ($DISPLAY is set),
// pbcopy, or the terminal itself, by the sequence OSC 52 (xterm's "Manipulate Selection Data"), which reaches also
// through ssh and which nobody confirms. Gives what it was, for people. Throws Error(resource): none is there.
std::string copy_to_clipboard(std::string_view text);

// The sequence.
std::string osc52(std::string_view text);

}  // namespace hearth::cli
