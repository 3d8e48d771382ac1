// The CPU backend: which tables of operations exist, and which one this machine should use.
#pragma once

#include <span>
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

// The table of that name. "auto" is the one that the environment variable HEARTH_ISA names, if it is set and not empty,
// else the best available one. Throws Error(usage) for an unknown name (the message lists the right ones) and
// Error(resource) for one that this processor lacks; the message says so if the name came from HEARTH_ISA.
const Ops& cpu_ops(std::string_view name);

// The rule of cpu_ops, for any list of tables; `preferred` is the value of HEARTH_ISA, or null.
const Ops& choose_table(std::span<const CpuIsa> isas, std::string_view name, const char* preferred);

// Why "auto" can be no better than scalar: "this processor (NAME) has no AVX2"; empty where a better table exists.
std::string why_scalar(std::span<const CpuIsa> isas);

// Default number of threads: physical cores that this process may run on, or the processors that its control group
// allows if those are fewer; at least 1.
int default_threads();

// For people: the processor, its cores, its best table: "Intel(R) Xeon(R) Processor, 2 threads, avx2".
std::string cpu_description();

}  // namespace hearth
