// Which bytes of a file are asked for before experts are computed, and that they come.
#include "runtime/offload/read_ahead.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Eight experts of three matrices of 128 KiB in each of two layers.
TinyModel with_large_experts() {
  TinyShape shape = TinyShape::lite();
  shape.dim = 256;
  shape.moe_inter = 128;
  return TinyModel(shape);
}

FfnWeights experts_of(const GgufFile& file, int layer) {
  const auto weight = [&](const char* role) { return as_weight(file.tensor(name::in_layer(layer, role))); };
  return {weight(name::kFfnGateExps), weight(name::kFfnUpExps), weight(name::kFfnDownExps)};
}

const std::byte* begin_of(const Weight& w, int64_t matrix) {
  return w.row(matrix, 0);
}

// All of the file goes to the disk and out of memory, what was read to open it as well. Not every file system lets it.
void drop_from_memory(const GgufFile& file) {
  file.parts()[0]->dont_need(file.parts()[0]->bytes());
  const int fd = open(file.path().c_str(), O_RDONLY);
  REQUIRE(fd >= 0);
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

// The share of a matrix's pages that are in memory.
double resident_share(const Weight& w, int64_t matrix) {
  const auto page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(w.row(matrix, 0)) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(w.row(matrix, 0)) + size_t(w.n) * w.row_bytes;
  std::vector<unsigned char> pages((end - begin + page - 1) / page);
  REQUIRE(mincore(reinterpret_cast<void*>(begin), end - begin, pages.data()) == 0);
  return double(std::ranges::count_if(pages, [](unsigned char p) { return p & 1; })) / double(pages.size());
}

double resident_share(const FfnWeights& experts, int64_t matrix) {
  return (resident_share(experts.gate, matrix) + resident_share(experts.up, matrix) +
          resident_share(experts.down, matrix)) /
         3;
}

}  // namespace

TEST_CASE("expert_bytes: three matrices of each expert, once, where they lie") {
  const GgufFile file = with_large_experts().file();
  const FfnWeights experts = experts_of(file, 2);
  const std::vector<int32_t> ids = {6, 1, 6, 6, 1};
  const auto bytes = expert_bytes(experts, ids);
  REQUIRE(bytes.size() == 6);
  for (size_t i = 0; i < 2; ++i) {
    const int64_t e = i == 0 ? 6 : 1;
    CHECK(bytes[3 * i].data() == begin_of(experts.gate, e));
    CHECK(bytes[3 * i + 1].data() == begin_of(experts.up, e));
    CHECK(bytes[3 * i + 2].data() == begin_of(experts.down, e));
    for (size_t j = 0; j < 3; ++j) CHECK(bytes[3 * i + j].size() == 128 * 256 * 4);
  }
  CHECK(expert_bytes(experts, {}).empty());
}

TEST_CASE("expert_bytes: an expert's slot is where it lies, and without one it is elsewhere") {
  const GgufFile file = with_large_experts().file();
  FfnWeights experts = experts_of(file, 1);
  const std::vector<int32_t> slots = {-1, 0, -1, 7, -1, -1, -1, -1};
  experts.slots = slots.data();
  experts.n_slots = 8;
  const std::vector<int32_t> ids = {0, 3, 2, 1};
  const auto bytes = expert_bytes(experts, ids);
  REQUIRE(bytes.size() == 6);
  CHECK(bytes[0].data() == begin_of(experts.gate, 7));
  CHECK(bytes[3].data() == begin_of(experts.gate, 0));
}

TEST_CASE("read ahead: the experts that are named come into memory, and no others" * doctest::test_suite("may skip")) {
  const GgufFile file = with_large_experts().file();
  const FfnWeights experts = experts_of(file, 2);
  drop_from_memory(file);
  if (resident_share(experts, 4) > 0) {
    MESSAGE("SKIP: the file system of ", file.path(), " keeps its files in memory");
    return;
  }
  const std::vector<int32_t> ids = {1, 6, 1};
  ReadAhead(file, false).experts(experts, ids);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(resident_share(experts, 1) == 0);

  const ReadAhead read_ahead(file, true);
  read_ahead.experts(experts, ids);
  const auto all_there = [&] { return resident_share(experts, 1) == 1 && resident_share(experts, 6) == 1; };
  for (int i = 0; i < 1000 && !all_there(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(all_there());
  for (const int64_t other : {3, 4}) CHECK(resident_share(experts, other) == 0);  // pages at an edge may be shared

  const std::vector<std::byte> elsewhere(64);  // weights that were copied: not the file's to fetch
  FfnWeights copied = experts;
  copied.gate.data = copied.up.data = copied.down.data = elsewhere.data();
  copied.gate.matrix_stride = copied.up.matrix_stride = copied.down.matrix_stride = 0;
  read_ahead.experts(copied, ids);
  CHECK(resident_share(experts, 4) == 0);
}
