// Where tests find their data, and a folder of their own that is gone afterwards.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace hearth::test {

namespace fs = std::filesystem;

inline fs::path source_dir() {
  return HEARTH_SOURCE_DIR;
}
inline fs::path build_dir() {
  return HEARTH_BUILD_DIR;
}

// The optional folder of large test data beside a developer's checkout: HEARTH_SHARED, else ../shared. Empty path when
// it is not there, and a line that says SKIP: cases that then have nothing to check are of the test suite "may skip",
// so that CTest shows them as skipped (hearth_optional_test).
inline fs::path shared_data(const char* what_is_skipped) {
  const char* named = std::getenv("HEARTH_SHARED");
  const fs::path path = named ? fs::path(named) / "data" : source_dir().parent_path() / "shared" / "data";
  if (fs::exists(path)) return path;
  std::printf("SKIP: %s (needs the optional test data at %s)\n", what_is_skipped, path.c_str());
  return {};
}

// A fresh directory, removed with all it holds.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (fs::temp_directory_path() / "hearth-test-XXXXXX").string();
    if (!mkdtemp(pattern.data())) std::abort();
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const fs::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

}  // namespace hearth::test
