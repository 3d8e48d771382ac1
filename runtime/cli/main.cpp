// The `hearth` command: parses, dispatches, and turns every Error into one line and an exit code.
#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"

namespace {

// 0 success, 1 failure, 2 wrong usage, 130 interrupted (as shells count Ctrl-C; 143, 129 and 141 for other signals).
int exit_code(hearth::ErrorKind kind) {
  switch (kind) {
    case hearth::ErrorKind::usage:
      return 2;
    case hearth::ErrorKind::interrupted:
      return hearth::cli::interrupt_status();
    default:
      return 1;
  }
}

constexpr const char* kExamples =
    "  hearth pull deepseek-ai/DeepSeek-V2-Lite-Chat             a checkpoint is fetched from Hugging Face\n"
    "  hearth convert ~/models/DeepSeek-V2-Lite-Chat lite.gguf   a checkpoint becomes one file\n"
    "  hearth chat lite.gguf                                     a conversation\n"
    "  hearth run lite.gguf \"What is MLA?\"                      one answer\n"
    "  hearth serve lite.gguf                                    the same for editors, agents and web pages\n"
    "  hearth plan lite.gguf                                     how fast it can be here\n\n"
    "Each command has --help.";

void group(CLI::App& app, const char* title, const std::vector<const char*>& names) {
  for (const char* name : names) app.get_subcommand(name)->group(title);
}

// hearth help, hearth help COMMAND.
void add_help(CLI::App& app) {
  auto about = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("help", "this list, or the help of a command")->group("");
  command->add_option("command", *about, "a command");
  command->callback([&app, about] {
    const CLI::App* named = &app;
    if (!about->empty()) {
      const auto found =
          app.get_subcommands([&](const CLI::App* candidate) { return candidate->get_name() == *about; });
      if (found.empty()) hearth::fail(hearth::ErrorKind::usage, "unknown command {} (see: hearth --help)", *about);
      named = found.front();
    }
    const std::string name = about->empty() ? "hearth" : "hearth " + *about;
    hearth::cli::print("{}", named->get_formatter()->make_help(named, name, CLI::AppFormatMode::Normal));
  });
}

// Descriptors 0 to 2 that are closed are opened, or the first file would get their numbers, and answers would be
// written into the model. Nothing can be read from standard input then, nor written to standard output: an error, as
// before.
void open_closed_descriptors() {
  constexpr int kModes[] = {O_WRONLY, O_RDONLY, O_RDWR};
  for (int fd = 0; fd < 3; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", kModes[fd]) != fd) std::_Exit(1);
}

// The first line of what CLI11 says, in plain words.
std::string message_of(const CLI::ParseError& error) {
  const std::string text = error.what(), line = text.substr(0, text.find('\n'));
  constexpr std::string_view kTwice = ": At Most 1 required but received ";
  const size_t twice = line.find(kTwice);
  if (twice == std::string::npos) return line;
  return fmt::format("{}: expected once, found {} times", line.substr(0, twice), line.substr(twice + kTwice.size()));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace hearth;
  open_closed_descriptors();
  // Line editing counts characters and not bytes; a bare container has no locale set, but speaks UTF-8 all the same.
  if (!std::setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");

  cli::catch_bus_errors();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow any more is an error like a full disk, not a death

  CLI::App app("hearth runs DeepSeek-V2-class models on one workstation");
  app.name("hearth");
  app.set_version_flag("--version", "hearth " HEARTH_VERSION);
  app.require_subcommand(1);
  app.footer(kExamples);
  cli::add_chat(app);
  cli::add_run(app);
  cli::add_serve(app);
  cli::add_pull(app);
  cli::add_convert(app);
  cli::add_quantize(app);
  cli::add_export(app);
  cli::add_imatrix(app);
  cli::add_plan(app);
  cli::add_inspect(app);
  cli::add_verify(app);
  cli::add_bench(app);
  cli::add_perplexity(app);
  cli::add_logits(app);
  cli::add_tokenize(app);
  cli::add_schema(app);
  group(app, "Talk with a model", {"chat", "run", "serve"});
  group(app, "Files", {"pull", "convert", "quantize", "export", "imatrix", "plan", "inspect", "verify"});
  group(app, "Measure and compare", {"bench", "perplexity", "logits", "tokenize", "schema"});
  add_help(app);

  try {
    const auto named = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(named).empty())
      fail(ErrorKind::usage, "unknown command {} (see: hearth --help)", argv[1]);
    app.parse(argc, argv);
    cli::flush_out();
    return 0;
  } catch (const CLI::Success& e) {  // --help, --version
    app.exit(e);
    std::cout.flush();
    if (!std::cout) cli::note("hearth: standard output: cannot be written\n");
    return std::cout ? 0 : 1;
  } catch (const CLI::ParseError& e) {
    const auto chosen = app.get_subcommands();
    const std::string command = chosen.empty() ? "hearth" : "hearth " + chosen.front()->get_name();
    cli::note("hearth: {} (see: {} --help)\n", message_of(e), command);
    return exit_code(ErrorKind::usage);
  } catch (const Error& e) {
    // Whoever sent a signal that ends a program knows why it ended; a closed pipe is what failed to be written to.
    const int signal = cli::ending_signal();
    const bool ended = signal == SIGPIPE || (signal != 0 && e.kind == ErrorKind::interrupted);
    if (ended) return cli::interrupt_status();
    if (*e.what()) cli::note("hearth: {}\n", e.what());  // else it was told already
    return exit_code(e.kind);
  } catch (const std::bad_alloc&) {
    cli::note("hearth: out of memory\n");
    return 1;
  } catch (const std::exception& e) {
    cli::note("hearth: internal error: {}\n", e.what());
    return 1;
  }
}
