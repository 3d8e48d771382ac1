// Which tables there are, how one is chosen, and how the processor's cores are counted.
#include <fstream>

#include "kernels/cpu/topology.h"
#include "quant/error.h"
#include "tests/kernels/fixture.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool has_vnni() {
#ifdef __x86_64__
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

// The message of the Error of this kind that f() throws.
template <class F>
std::string refusal_of(const F& f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.kind == kind);
    return e.what();
  }
  FAIL_CHECK("expected an error");
  return "";
}

}  // namespace

TEST_CASE("every available table has every operation, and the best comes first") {
  const std::vector<CpuIsa> isas = cpu_isas();
  REQUIRE(!isas.empty());
  CHECK(std::string(isas.back().name) == "scalar");
  CHECK(isas.back().available);
  const Ops* best = nullptr;
  for (const CpuIsa& isa : isas) {
    CHECK(isa.available == (isa.ops != nullptr));
    if (!isa.available) continue;
    if (!best) best = isa.ops;
    const Ops& o = *isa.ops;
    CHECK(std::string(o.name) == isa.name);
    CHECK(&cpu_ops(isa.name) == isa.ops);
    CHECK((o.scratch.matmul && o.scratch.mla_attend && o.scratch.mha_attend && o.scratch.route && o.scratch.largest &&
           o.refuses && o.embed && o.rms_norm && o.matmul));
    CHECK((o.matmul_heads && o.rope && o.store_latent && o.mla_attend && o.mha_attend && o.ffn && o.route));
    CHECK((o.moe_ffn && o.add && o.add_rms_norm && o.matmul_pair && o.absorbed_attend));
  }
  CHECK(&choose_table(isas, "auto", nullptr) == best);
}

TEST_CASE("the tests that run once per table name them all") {
  std::string names;
  for (const CpuIsa& isa : cpu_isas()) names += (names.empty() ? "" : " ") + std::string(isa.name);
  CHECK(names == HEARTH_TABLES);
}

TEST_CASE("no table is another one under a second name") {
  const std::vector<CpuIsa> isas = cpu_isas();
  for (const CpuIsa& a : isas) {
    for (const CpuIsa& b : isas) {
      if (!a.available || !b.available || std::string(a.name) >= b.name) continue;
      CAPTURE(std::string(a.name));
      CAPTURE(std::string(b.name));
      CHECK(a.ops != b.ops);
      // Without VNNI both tables of AVX-512 are the plain one.
      if (std::string(a.name) == "avx512" && std::string(b.name) == "avx512_plain" && !has_vnni()) continue;
      CHECK((a.ops->matmul != b.ops->matmul));
      CHECK((a.ops->matmul_pair != b.ops->matmul_pair));
      CHECK((a.ops->matmul_heads != b.ops->matmul_heads));
      CHECK((a.ops->absorbed_attend != b.ops->absorbed_attend));
      CHECK((a.ops->ffn != b.ops->ffn));
      CHECK((a.ops->moe_ffn != b.ops->moe_ffn));
    }
  }
}

TEST_CASE("an unknown name is an error that lists the right ones") {
  const std::string message = refusal_of([] { cpu_ops("mmx"); }, ErrorKind::usage);
  CHECK(message.find("'mmx'") != std::string::npos);
  CHECK(message.find("auto") != std::string::npos);
  for (const CpuIsa& isa : cpu_isas()) CHECK(message.find(isa.name) != std::string::npos);
}

// As three machines would list them.
const Ops kFast{.name = "fast"}, kGood{.name = "good"}, kPlain{.name = "scalar"};
const std::vector<CpuIsa> kNew = {{"fast", &kFast, true}, {"good", &kGood, true}, {"scalar", &kPlain, true}};
const std::vector<CpuIsa> kOld = {{"fast", nullptr, false}, {"good", nullptr, false}, {"scalar", &kPlain, true}};
const std::vector<CpuIsa> kForeign = {{"scalar", &kPlain, true}};

TEST_CASE("auto is the best table that there is, or the one that HEARTH_ISA names") {
  CHECK(&choose_table(kNew, "auto", nullptr) == &kFast);
  CHECK(&choose_table(kOld, "auto", nullptr) == &kPlain);
  CHECK(&choose_table(kNew, "auto", "") == &kFast);
  CHECK(&choose_table(kNew, "auto", "auto") == &kFast);
  CHECK(&choose_table(kNew, "auto", "good") == &kGood);
  CHECK(&choose_table(kNew, "scalar", "good") == &kPlain);  // a name is a name
  CHECK(&choose_table(kNew, "fast", "nonsense") == &kFast);
}

TEST_CASE("a table that this processor lacks is refused, and so is what HEARTH_ISA misspells") {
  const std::string lacks = refusal_of([] { choose_table(kOld, "good", nullptr); }, ErrorKind::resource);
  CHECK(lacks.find("this processor (") == 0);
  CHECK(lacks.find("lacks the instructions of 'good'") != std::string::npos);
  const std::string by_variable = refusal_of([] { choose_table(kOld, "auto", "good"); }, ErrorKind::resource);
  CHECK(by_variable == "HEARTH_ISA: " + lacks);
  CHECK(refusal_of([] { choose_table(kNew, "auto", "mmx"); }, ErrorKind::usage) ==
        "HEARTH_ISA: no CPU instruction set is called 'mmx'; there are: auto, fast, good, scalar");
  CHECK(refusal_of([] { choose_table(kNew, "", nullptr); }, ErrorKind::usage).find("''") != std::string::npos);
}

TEST_CASE("why there is only the scalar table") {
  CHECK(why_scalar(kNew) == "");
  CHECK(why_scalar(kOld).find("this processor (") == 0);
  CHECK(why_scalar(kOld).find("has no AVX2") != std::string::npos);
  CHECK(why_scalar(kForeign).find("this build has no other kernels") == 0);
}

TEST_CASE("cores are counted once, whatever their hardware threads") {
  TempDir dir;
  const auto add_cpu = [&](int cpu, const std::string& siblings) {
    const fs::path topology = dir.path() / ("cpu" + std::to_string(cpu)) / "topology";
    fs::create_directories(topology);
    std::ofstream(topology / "thread_siblings_list") << siblings << "\n";
  };
  add_cpu(0, "0,4");
  add_cpu(1, "1,5");
  add_cpu(4, "0,4");
  add_cpu(5, "1,5");
  CHECK(count_cores(dir.path(), {0, 1, 4, 5}) == 2);
  CHECK(count_cores(dir.path(), {0, 4}) == 1);  // confined to one core
  CHECK(count_cores(dir.path(), {4, 1}) == 2);
  CHECK(count_cores(dir.path(), {0, 1, 6, 7}) == 4);  // 6 and 7 say nothing
  CHECK(count_cores(dir.path(), {}) == 0);
}

TEST_CASE("a control group's share of the processors counts") {
  const auto quota = [](const std::vector<std::pair<std::string, std::string>>& files) {
    TempDir root;
    for (const auto& [name, text] : files) {
      const fs::path path = root.path() / name;
      fs::create_directories(path.parent_path());
      std::ofstream(path) << text;
    }
    return quota_of_groups(root.path().string());
  };
  CHECK(quota({}) == 0);
  CHECK(quota({{"proc/self/cgroup", "0::/\n"}}) == 0);
  CHECK(quota({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "max 100000\n"}}) == 0);
  CHECK(quota({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "200000 100000\n"}}) == 2);
  CHECK(quota({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "50000 100000\n"}}) == 1);
  CHECK(quota({{"proc/self/cgroup", "0::/a/b\n"},  // a group above allows less
               {"sys/fs/cgroup/a/b/cpu.max", "800000 100000\n"},
               {"sys/fs/cgroup/a/cpu.max", "350000 100000\n"}}) == 4);
  CHECK(quota({{"proc/self/cgroup", "3:cpu,cpuacct:/c\n"},
               {"sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "300000\n"},
               {"sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"}}) == 3);
  CHECK(quota({{"proc/self/cgroup", "3:cpu,cpuacct:/c\n"},
               {"sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n"},
               {"sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"}}) == 0);
}

TEST_CASE("this machine") {
  CHECK(default_threads() >= 1);
  CHECK(default_threads() <= int(allowed_cpus().size()));
  const std::string text = cpu_description();
  MESSAGE(text);
  CHECK(text.find(choose_table(cpu_isas(), "auto", nullptr).name) != std::string::npos);
}
