// The CPU backend: which tables of operations exist, and which one this machine should use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/ops.h"

namespace hearth {

struct CpuIsa {
  const char* name;
  const Ops* ops;  // null when not available
  bool available;  // this processor has what the table was compiled for
};

// All tables, best first: "amx" (AVX-512 and the tile unit), "avx512", "avx512_plain" (without VNNI's byte products, on
// any processor with AVX-512), "avx2", "scalar".
std::vector<CpuIsa> cpu_isas();

// The table of that name, or the best available one for "auto". Throws Error(usage) for an unknown name (the message
// lists the right ones) and Error(resource) for one that this processor lacks.
const Ops& cpu_ops(std::string_view name);

// Default number of threads: physical cores that this process may run on, at least 1.
int default_threads();

// For people: "Intel(R) Xeon(R) Processor, 2 threads, avx2".
std::string cpu_description();

}  // namespace hearth
