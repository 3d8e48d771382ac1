// What may follow a command, and that it follows at once where a person says yes.
#pragma once

#include <string>
#include <vector>

namespace hearth::cli {

// `words`: of a command of this program, "chat", "x.gguf". Where a person sits at standard input, output and error,
// asks `question`, and becomes that command at "y" or "yes"; else, and at any other answer, prints "go on with:  hearth
// chat x.gguf". Where standard output is taken by another program, that one goes on, and nobody is asked. Throws
// Error(interrupted): Ctrl-C at the question.
void offer(const std::string& question, std::vector<std::string> words);

}  // namespace hearth::cli
