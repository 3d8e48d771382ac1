// The options of sampling.
#pragma once

#include "runtime/engine/sampling_defaults.h"

namespace CLI {
class App;
}

namespace hearth::cli {

void add_sampler_options(CLI::App& command, SamplingChoices& choices);

}  // namespace hearth::cli
