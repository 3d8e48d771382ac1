// Which tables there are, how one is chosen, and how the processor's cores are counted.
#include <fstream>

#include "kernels/cpu/topology.h"
#include "quant/error.h"
#include "tests/kernels/fixture.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

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
    CHECK((o.scratch_bytes && o.adopt && o.buffer && o.release && o.move && o.embed && o.rms_norm && o.matmul));
    CHECK((o.matmul_heads && o.rope && o.store_latent && o.mla_attend && o.mha_attend && o.ffn && o.route));
    CHECK((o.moe_ffn && o.add));
  }
  CHECK(&cpu_ops("auto") == best);
}

TEST_CASE("an unknown name is an error that lists the right ones") {
  try {
    cpu_ops("mmx");
    FAIL("expected an error");
  } catch (const Error& e) {
    CHECK(e.kind == ErrorKind::usage);
    const std::string message = e.what();
    CHECK(message.find("'mmx'") != std::string::npos);
    CHECK(message.find("auto") != std::string::npos);
    for (const CpuIsa& isa : cpu_isas()) CHECK(message.find(isa.name) != std::string::npos);
  }
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

TEST_CASE("this machine") {
  CHECK(default_threads() >= 1);
  CHECK(default_threads() <= int(allowed_cpus().size()));
  const std::string text = cpu_description();
  MESSAGE(text);
  CHECK(text.find(cpu_ops("auto").name) != std::string::npos);
}
