#include "runtime/cli/chat/transcript.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <span>
#include <utility>

#include "quant/error.h"
#include "quant/partial_file.h"

namespace hearth::cli {
namespace {

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local)};
}

}  // namespace

Transcript::Transcript(const std::string& path, std::string model) : path_(path), model_(std::move(model)) {
  if (path.empty()) return;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
  require(fd_ >= 0, ErrorKind::file, "--transcript {}: {}", path, std::strerror(errno));
}

Transcript::~Transcript() {
  if (fd_ >= 0) close(fd_);
}

void Transcript::write(std::string_view text) {
  if (fd_ < 0 || write_all(fd_, std::as_bytes(std::span(text)))) return;
  fault_ = fmt::format("--transcript {}: {}: nothing more is written there", path_, std::strerror(errno));
  close(std::exchange(fd_, -1));
}

void Transcript::question(std::string_view text) {
  if (!begun_) write(fmt::format("# {}, {}\n\n", model_, now_text()));
  begun_ = true;
  write(fmt::format("## You\n\n{}\n\n", text));
}

void Transcript::piece(const SplitText& piece) {
  if (!answering_) write(fmt::format("## {}\n\n", model_));
  answering_ = true;
  if (!piece.thoughts.empty()) quote(piece.thoughts);
  if (piece.answer.empty()) return;
  if (std::exchange(thinking_, false)) write("\n\n");
  write(piece.answer);
}

void Transcript::quote(std::string_view thoughts) {
  std::string quoted = std::exchange(thinking_, true) ? "" : "> ";
  for (const char c : thoughts) {
    quoted += c;
    if (c == '\n') quoted += "> ";
  }
  write(quoted);
}

void Transcript::end_answer(std::string_view remark) {
  if (answering_) write("\n\n");
  answering_ = thinking_ = false;
  if (!remark.empty()) this->remark(remark);
}

void Transcript::remark(std::string_view text) {
  if (begun_) write(fmt::format("*({})*\n\n", text));
}

void Transcript::require_written() {
  if (!fault_.empty()) throw Error(ErrorKind::file, std::exchange(fault_, ""));
}

}  // namespace hearth::cli
