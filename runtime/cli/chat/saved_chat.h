// A conversation in a file: one JSON object (docs/chat.md). Its messages have the form that OpenAI's chat completions
// give them, so other programs can read them, too.
#pragma once

#include <string>

#include "runtime/cli/chat/chat_state.h"

namespace hearth::cli {

// As text. The system message is the first one; thoughts are reasoning_content, calls of functions tool_calls; attached
// files are a part of their question. `model`: its name, for people.
std::string saved_chat(const ChatState& state, const std::string& model);

// Throws Error(usage) that names the line, or the place of what is not as expected, as "messages[2].role". Settings
// that the text does not mention are the model's own. A number that no sampler takes is for ChatSession::restore to
// refuse.
ChatState parse_chat(const std::string& text);

// Writes the whole file or leaves it as it was (quant/output_file.h). Throws Error(file): cannot be written; something
// else than a saved conversation is there already.
void write_chat(const std::string& path, const std::string& text);
// Throws what parse_chat throws, with the path in front, and Error(file), Error(format) for one beyond 64 MiB.
ChatState read_chat(const std::string& path);

}  // namespace hearth::cli
