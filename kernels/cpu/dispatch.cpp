// The one place that chooses an instruction set. A table that was not built for this kind of processor is not in the
// list; one that was built but that this processor lacks is listed as unavailable.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "kernels/cpu/backend.h"
#include "kernels/cpu/scalar.h"
#include "kernels/cpu/topology.h"
#include "quant/error.h"

#ifdef HEARTH_AVX2
#include <cpuid.h>

#include "kernels/cpu/amx/install.h"
#include "kernels/cpu/avx2/install.h"
#include "kernels/cpu/avx512/install.h"
#endif

namespace hearth {
namespace {

constexpr std::string_view kScalar = "scalar";

#ifdef HEARTH_AVX2
bool has_avx2() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);  // __builtin_cpu_supports of clang 14 lacks it
  return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const Ops& avx2_ops() {
  static const Ops ops = [] {
    Ops table = scalar_ops();
    install_avx2(table);
    return table;
  }();
  return ops;
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

// VNNI multiplies bytes; AVX512-BF16 multiplies bfloat16, and VBMI shuffles single bytes.
bool has_vnni() {
  return has_avx512() && __builtin_cpu_supports("avx512vnni");
}
bool has_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAvx512Bf16 = 1u << 5;
  return has_vnni() && __builtin_cpu_supports("avx512vbmi") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
         (a & kAvx512Bf16);
}

const Ops& plain_avx512_ops() {
  static const Ops ops = [] {
    Ops table = avx2_ops();
    avx512::install(table);
    table.name = "avx512_plain";
    return table;
  }();
  return ops;
}

const Ops& avx512_ops() {
  static const Ops ops = [] {
    Ops table = avx2_ops();
    (has_vnni() ? avx512_vnni::install : avx512::install)(table);
    if (has_vnni()) avx512_vnni::install_integer_attention(table);
    if (has_bf16()) avx512_bf16::install(table);
    table.name = "avx512";
    return table;
  }();
  return ops;
}

// Tiles of bytes and of bfloat16; the operating system must allow their use.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
  constexpr unsigned kAll = kAmxBf16 | kAmxTile | kAmxInt8;
  if ((d & kAll) != kAll) return false;
  static const bool allowed = amx::request_tiles();
  return allowed;
}

const Ops& amx_ops() {
  static const Ops ops = [] {
    Ops table = avx512_ops();
    amx::install(table);
    table.name = "amx";
    return table;
  }();
  return ops;
}
#endif

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace

std::vector<CpuIsa> cpu_isas() {
  std::vector<CpuIsa> isas;
#ifdef HEARTH_AVX2
  const bool avx512 = has_avx512(), avx2 = has_avx2();
  const bool amx = has_amx();
  isas.push_back({"amx", amx ? &amx_ops() : nullptr, amx});
  isas.push_back({"avx512", avx512 ? &avx512_ops() : nullptr, avx512});
  isas.push_back({"avx512_plain", avx512 ? &plain_avx512_ops() : nullptr, avx512});
  isas.push_back({"avx2", avx2 ? &avx2_ops() : nullptr, avx2});
#endif
  isas.push_back({"scalar", &scalar_ops(), true});
  return isas;
}

const Ops& choose_table(std::span<const CpuIsa> isas, std::string_view name, const char* preferred) {
  const bool by_preference = name == "auto" && preferred && *preferred;
  if (by_preference) name = preferred;
  const std::string source = by_preference ? "HEARTH_ISA: " : "";
  std::string names = "auto";
  for (const CpuIsa& isa : isas) {
    if (name == isa.name && !isa.available) {
      fail(ErrorKind::resource, "{}this processor ({}) lacks the instructions of '{}'", source, processor_name(), name);
    }
    if (isa.available && (name == isa.name || name == "auto")) return *isa.ops;
    names += fmt::format(", {}", isa.name);
  }
  fail(ErrorKind::usage, "{}no CPU instruction set is called '{}'; there are: {}", source, name, names);
}

const Ops& cpu_ops(std::string_view name) {
  return choose_table(cpu_isas(), name, std::getenv("HEARTH_ISA"));
}

std::string why_scalar(std::span<const CpuIsa> isas) {
  if (std::ranges::any_of(isas, [](const CpuIsa& isa) { return isa.available && isa.name != kScalar; })) return "";
  if (isas.size() > 1) return fmt::format("this processor ({}) has no AVX2", processor_name());
  return fmt::format("this build has no other kernels for this kind of processor ({})", processor_name());
}

int default_threads() {
  const int cores = count_cores("/sys/devices/system/cpu", allowed_cpus());
  const int all = std::max(1, cores > 0 ? cores : int(std::thread::hardware_concurrency())), quota = quota_of_groups();
  return quota > 0 ? std::min(all, quota) : all;
}

std::string cpu_description() {
  const int threads = default_threads();
  const std::vector<CpuIsa> isas = cpu_isas();
  const auto best = std::ranges::find_if(isas, &CpuIsa::available);
  return fmt::format("{}, {} thread{}, {}", processor_name(), threads, threads == 1 ? "" : "s", best->name);
}

}  // namespace hearth
