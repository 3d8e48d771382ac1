// `hearth serve` in a process of its own, on a port that was free, and clients of it.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"
#include "tests/runtime/server/http_client.h"

namespace hearth::test {

using Json = nlohmann::json;

class Server {
 public:
  // With a gate: listens, and does not load the model before that file is removed.
  explicit Server(std::vector<std::string> options = {}, const std::string& model = demo_model(),
                  const std::string& gate = {}) {
    options.insert(options.begin(), {hearth_program(), "serve", model, "--port", "0"});
    std::vector<char*> arguments;
    for (std::string& option : options) arguments.push_back(option.data());
    arguments.push_back(nullptr);
    int err[2];
    REQUIRE(pipe2(err, O_CLOEXEC) == 0);
    child_ = fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      dup2(err[1], 2);
      if (!gate.empty()) {
        setenv("LD_PRELOAD", (build_dir() / "tests/libslow_disk.so").c_str(), 1);
        setenv("HEARTH_TEST_GATE", gate.c_str(), 1);
      }
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(err[1]);
    err_ = err[0];
    REQUIRE_MESSAGE(soon_said(gate.empty() ? "hearth: ready: " : "hearth: listening on "), said_);
    const std::string before = "listening on http://";
    const size_t address = said_.find(before) + before.size();
    const size_t comma = said_.find(", loading ", address);
    port_ = uint16_t(std::stoi(said_.substr(said_.rfind(':', comma) + 1)));
  }
  Server(const Server&) = delete;
  ~Server() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    close(err_);
  }

  uint16_t port() const { return port_; }
  int64_t resident_bytes() const {
    std::ifstream in("/proc/" + std::to_string(child_) + "/statm");
    int64_t all = 0, resident = 0;
    in >> all >> resident;
    return resident * sysconf(_SC_PAGESIZE);
  }
  const std::string& said() const { return said_; }  // on standard error, so far
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  void signal(int number) const { kill(child_, number); }

  // Waits for its end: the exit code, or 128 + the signal that it died of.
  int exit_code() {
    while (read_more()) {
    }
    int status = 0;
    waitpid(std::exchange(child_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // One request by a client of its own.
  Answer ask(const std::string& request) const {
    HttpClient client(port_);
    REQUIRE(client.send(request));
    return client.answer();
  }
  // What a request that is in order is answered.
  Json told(const std::string& request) const {
    const Answer answer = ask(request);
    REQUIRE_MESSAGE(answer.status == 200, answer.body);
    return Json::parse(answer.body);
  }
  Json post(const std::string& path, const Json& body) const { return told(test::post(path, body.dump())); }

  // A sample of /metrics, as `hearth_requests{state="running"}`.
  double metric(const std::string& name) const {
    const Answer page = ask(get("/metrics"));
    const size_t line = page.body.find("\n" + name + " ");
    REQUIRE_MESSAGE(line != std::string::npos, page.body);
    return std::stod(page.body.substr(line + name.size() + 2));
  }
  bool soon_metric(const std::string& name, double value) const {
    return soon([&] { return metric(name) == value; });
  }

 private:
  bool read_more() {
    pollfd look{err_, POLLIN, 0};
    if (poll(&look, 1, int(std::chrono::milliseconds(kPatience).count())) <= 0) return false;
    char buffer[4096];
    const ssize_t n = read(err_, buffer, sizeof buffer);
    if (n > 0) said_.append(buffer, size_t(n));
    return n > 0;
  }
  bool soon_said(const std::string& part) {
    while (!contains(said_, part))
      if (!read_more()) return false;
    return contains(said_.substr(said_.find(part)), "\n") || read_more();
  }

  pid_t child_ = -1;
  int err_ = -1;
  uint16_t port_ = 0;
  std::string said_;
};

inline Json question(const std::string& text) {
  return {{"messages", {{{"role", "user"}, {"content", text}}}}, {"temperature", 0}};
}
// An answer that goes on until the context is full, or somebody ends it.
inline Json endless(bool stream) {
  return {{"prompt", "One"}, {"ignore_eos", true}, {"max_tokens", 1'000'000}, {"stream", stream}, {"temperature", 1}};
}

}  // namespace hearth::test
