// hearth plan --simulate TRACE: a recording of the router on a machine that need not be there.
#pragma once

#include <string>

#include "runtime/offload/machine.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace hearth::cli {

struct SimulateArguments {
  std::string trace, plot, stats;  // empty: none
  bool token_by_token = false, json = false;
};

// Options beside those of `hearth plan`; returns --simulate.
CLI::Option* add_simulate_options(CLI::App& command, SimulateArguments& arguments);

// Prints a table or JSON, and writes the plot. Throws as reading, simulate() and writing do.
void simulate_command(const SimulateArguments& arguments, const Machine& machine);

}  // namespace hearth::cli
