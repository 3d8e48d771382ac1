// What is measured, as Prometheus reads it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/engine/generation.h"

namespace hearth::server {

struct RequestCounts {
  std::map<std::string, uint64_t> by_endpoint;
  uint64_t refused = 0;  // answered with an error before anything was generated
};

// status: null while the model is loading
std::string metrics_text(double loading_progress, const RequestCounts& counts, const EngineStatus* status);

}  // namespace hearth::server
