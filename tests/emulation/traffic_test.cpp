// What is counted of kernels whose accesses can be counted by hand. Linked with kernels that were compiled to show
// them.
#include <doctest/doctest.h>

#include "tests/emulation/sample_runs.h"
#include "tests/emulation/traffic.h"

using namespace hearth;
using namespace hearth::test;
using emulation::GridTraffic;
using emulation::Traffic;
using emulation::TrafficWatch;

namespace {

GridTraffic counted(const std::function<bool()>& run, std::vector<emulation::Region> regions = {}) {
  TrafficWatch watch(std::move(regions));
  REQUIRE(run());
  const std::vector<GridTraffic> grids = watch.take();
  REQUIRE(grids.size() == 1);
  return grids[0];
}

}  // namespace

TEST_CASE("traffic: vectors of 16 bytes are read and written whole") {
  const GridTraffic grid = counted([] { return scale_is_right(Fault::none, 10000, 1024); });
  CHECK(grid.name == "scale");
  CHECK(grid.blocks.x == 3);
  CHECK(grid.blocks_run == 3);
  const Traffic::Sectors& sectors = grid.traffic.sectors.at(0);
  CHECK(sectors.read == 10000 * 4 / 32);
  CHECK(sectors.read_once == sectors.read);
  CHECK(sectors.written == sectors.read);
  CHECK(grid.traffic.steps.reads == 1);
  CHECK(grid.traffic.wavefronts() == 0);
}

// 64 x 32 x 160 in two blocks of four warps, of which each has five pieces of k in two halves.
TEST_CASE("traffic: copies, matrices and products of a tile") {
  const Traffic t = counted([] { return product_is_right(Fault::none); }).traffic;
  CHECK(t.products == 2 * 4 * 5 * 2 * 2);
  CHECK(t.matrices.instructions == t.products);  // two for two
  CHECK(t.matrices.wavefronts == 4 * t.matrices.instructions);
  CHECK(t.matrices.conflicts == 0);  // rows of 80 bytes
  // Eight lanes write two rows of 64 bytes, 80 apart: four words of the second meet the first's banks.
  CHECK(t.copies.instructions == 2 * 4 * 5 * 2);
  CHECK(t.copies.wavefronts == 8 * t.copies.instructions);
  CHECK(t.copies.conflicts == 4 * t.copies.instructions);
  CHECK(t.sectors.at(0).read == 2 * 2 * 32 * 160 * 2 / 32);
  CHECK(t.sectors.at(0).written == 2 * 4 * 8 * 8);  // eight rows by eight floats at a time
  CHECK(t.barriers == 2 * 5 * 2);                   // before and behind each piece
  CHECK(t.steps.waits == 5);
  CHECK(t.steps.reads == 0);
}

TEST_CASE("traffic: single words") {
  const Traffic t = counted([] { return row_sums_are_right(Fault::none, 256); }).traffic;
  CHECK(t.stores.instructions == 5 * 8);  // a sum of each warp
  CHECK(t.stores.wavefronts == 5 * 8);
  CHECK(t.loads.instructions == 5);
  CHECK(t.loads.conflicts == 0);
}

TEST_CASE("traffic: some blocks for all") {
  emulation::settings().sampled_blocks = 2;
  TrafficWatch watch;
  scale_is_right(Fault::none, 100000, 1024);  // it is not
  emulation::settings().sampled_blocks = 0;
  const GridTraffic grid = watch.take().at(0);
  CHECK(grid.blocks.x == 25);
  CHECK(grid.blocks_run == 2);
  CHECK(grid.traffic.sectors.at(0).read == 2 * 4096 * 4 / 32);
}

TEST_CASE("traffic: memory is told apart") {
  const std::vector<float> x = random_floats(1024, 1);
  const DeviceArray<float> dx(x), dy(x.size());
  const Traffic t = counted(
                        [&] {
                          samples::scale(Fault::none, dx, 2.0f, dy, 1024, 256, nullptr);
                          return dy.download()[7] == 2 * x[7];
                        },
                        {{dx.data(), dx.bytes(), 7}})
                        .traffic;
  CHECK(t.sectors.at(7).read == 128);
  CHECK(t.sectors.at(7).written == 0);
  CHECK(t.sectors.at(0).written == 128);
  CHECK(t.sectors.at(0).read == 0);
}
