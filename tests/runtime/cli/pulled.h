// `hearth pull` from a small hub on loopback into a cache of its own.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/hub/cache.h"
#include "tests/runtime/cli/hearth.h"
#include "tests/runtime/hub/small_hub.h"

namespace hearth::test {

inline std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The program, a hub, and a cache of its own.
struct Pulled {
  SmallHub hub;
  TempDir folder;

  ProcessOptions options() const {
    ProcessOptions options;
    options.environment = {{"HF_ENDPOINT", hub.endpoint()},
                           {"HF_HOME", folder.path().string()},
                           {"HF_HUB_CACHE", ""},
                           {"HF_TOKEN", ""},
                           {"HF_TOKEN_PATH", ""},
                           {"no_proxy", "127.0.0.1,localhost"},
                           {"NO_PROXY", "127.0.0.1,localhost"}};
    return options;
  }
  static std::vector<std::string> command(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"pull", SmallHub::kRepository};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  ProcessResult pull(const std::vector<std::string>& more = {}) const { return run_hearth(command(more), options()); }
  std::string cache() const { return folder / "hub"; }
  std::string snapshot() const {
    return hearth::hub::RepositoryCache(cache(), SmallHub::kRepository).snapshot(SmallHub::kCommit);
  }
  bool is_whole(const std::string& path) const { return content_of(snapshot() + "/" + path) == hub.content(path); }
  size_t n_incomplete() const {
    size_t n = 0;
    std::error_code error;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path(), error))
      n += entry.path().extension() == ".incomplete";
    return n;
  }

  // The same command in the background, which says nothing.
  pid_t begin(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = command(more);
    words.insert(words.begin(), hearth_program());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child > 0) return child;
    for (const auto& [name, value] : options().environment) setenv(name.c_str(), value.c_str(), 1);
    const int quiet = open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) dup2(quiet, fd);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
};

inline int ended(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace hearth::test
