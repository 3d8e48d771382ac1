// hearth plan MODEL.gguf --export: how many GPUs, and which, the model takes elsewhere.
#pragma once

#include "runtime/cli/plan.h"

namespace hearth::cli {

// Prints a table or JSON of the forms that `hearth export` writes: what each weighs, on each of 1 to 16 GPUs too, and
// the smallest usual card on which a context of `arguments.ctx` tokens (0: at most 32768) has room beside it. Only the
// header of the file is read. Throws as GgufFile::open and read_config do.
void plan_export_command(const PlanArguments& arguments);

}  // namespace hearth::cli
