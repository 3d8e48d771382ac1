// The program is built as one that takes bytes from the network should be, and its kernels as fast as before.
#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/paths.h"
#include "tests/support/refusal.h"

namespace hearth::test {

namespace {

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in.is_open(), path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class T>
std::vector<T> array_at(const std::string& file, size_t offset, size_t n) {
  std::vector<T> values(n);
  REQUIRE(offset + n * sizeof(T) <= file.size());
  std::memcpy(values.data(), file.data() + offset, n * sizeof(T));
  return values;
}

struct Program {
  Elf64_Ehdr header;
  std::vector<Elf64_Phdr> segments;
  std::vector<Elf64_Dyn> dynamic;

  explicit Program(const std::string& file) {
    REQUIRE(file.starts_with("\177ELF\2"));
    header = array_at<Elf64_Ehdr>(file, 0, 1)[0];
    segments = array_at<Elf64_Phdr>(file, header.e_phoff, header.e_phnum);
    if (const Elf64_Phdr* table = segment(PT_DYNAMIC))
      dynamic = array_at<Elf64_Dyn>(file, table->p_offset, table->p_filesz / sizeof(Elf64_Dyn));
  }
  const Elf64_Phdr* segment(uint32_t type) const {
    for (const Elf64_Phdr& segment : segments)
      if (segment.p_type == type) return &segment;
    return nullptr;
  }
  uint64_t flags(int64_t tag) const {
    for (const Elf64_Dyn& entry : dynamic)
      if (entry.d_tag == tag) return entry.d_un.d_val;
    return 0;
  }
};

// Whether it asks the C library for a function of this name.
bool names(const std::string& file, const char* function) {
  return file.find('\0' + std::string(function) + '\0') != std::string::npos;
}

}  // namespace

TEST_CASE("the program lies where the system chooses, and its tables are read-only once it runs") {
  const Program program(bytes_of(build_dir() / "hearth"));
  CHECK(program.header.e_type == ET_DYN);
  CHECK((program.flags(DT_FLAGS_1) & DF_1_PIE) != 0);
  CHECK((program.flags(DT_FLAGS) & DF_BIND_NOW) != 0);
  CHECK((program.flags(DT_FLAGS_1) & DF_1_NOW) != 0);
  CHECK(program.segment(PT_GNU_RELRO) != nullptr);
  REQUIRE(program.segment(PT_GNU_STACK) != nullptr);
  CHECK((program.segment(PT_GNU_STACK)->p_flags & PF_X) == 0);
  for (const Elf64_Phdr& segment : program.segments)
    if (segment.p_type == PT_LOAD) CHECK((segment.p_flags & (PF_W | PF_X)) != (PF_W | PF_X));
}

TEST_CASE("its stacks are checked, and what the C library copies") {
  const std::string file = bytes_of(build_dir() / "hearth");
  CHECK(names(file, "__stack_chk_fail"));
  if (!HEARTH_FORTIFIED) {
    MESSAGE("this build is not optimised: the C library does not check what it copies");
    return;
  }
  bool any = false;
  for (const char* function : {"__memcpy_chk", "__memmove_chk", "__memset_chk", "__read_chk", "__pread64_chk",
                               "__snprintf_chk", "__vsnprintf_chk", "__fread_chk", "__readlink_chk"})
    any = any || names(file, function);
  CHECK(any);
}

TEST_CASE("kernels are not slowed down by that") {
  const std::string kernels = bytes_of(build_dir() / "kernels" / "libkernels_cpu.a");
  CHECK(contains(kernels, "scalar"));
  CHECK(!contains(kernels, "__stack_chk_fail"));
}

}  // namespace hearth::test
