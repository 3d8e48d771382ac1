// hearth serve MODEL.gguf: the protocols of OpenAI, Anthropic and llama.cpp on a port of this machine.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cli/chat_options.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/sampler_options.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/inspect.h"
#include "runtime/eval/report.h"
#include "runtime/server/api.h"
#include "runtime/server/http_keys.h"
#include "runtime/server/http_server.h"
#include "runtime/server/page.h"
#include "runtime/support/system_memory.h"

namespace hearth::cli {
namespace {

struct ServeArguments {
  SessionOptions session;
  SamplingChoices sampler;
  ChatChoices choices;
  std::string host = "127.0.0.1", key_file, alias;
  std::vector<std::string> origins, hosts;
  int port = 8080;
  bool no_key = false;
  int64_t max_waiting = 64;
};

server::HttpOptions http_options(const ServeArguments& arguments) {
  server::HttpOptions options;
  options.host = arguments.host;
  options.port = uint16_t(arguments.port);
  for (const std::string& host : arguments.hosts) options.access.hosts.push_back(server::checked_host(host));
  for (const std::string& origin : arguments.origins) options.access.origins.push_back(server::checked_origin(origin));
  if (!arguments.key_file.empty()) options.access.keys = server::read_api_keys(arguments.key_file);
  options.access.open_paths.push_back("/");
  for (const server::PageFile& file : server::page_files()) options.access.open_paths.emplace_back(file.path);
  options.error_body = server::api_error_body;
  server::require_keys_or_consent(arguments.host, !options.access.keys.empty(), arguments.no_key);
  return options;
}

std::string url(const std::string& host, uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("http://{}:{}", host, port)
                                             : fmt::format("http://[{}]:{}", host, port);
}

std::string stem(const std::string& path) {
  return std::filesystem::path(path).stem().string();
}

server::ServedModel served(const ServeArguments& arguments, const LoadedModel& session,
                           const std::optional<ChatTemplate>& format) {
  const Model& model = *session.model;
  server::ServedModel served;
  served.id = arguments.alias.empty() ? stem(model.file().path()) : arguments.alias;
  if (!arguments.alias.empty()) served.aliases.push_back(stem(model.file().path()));
  served.path = model.file().path();
  served.version = "hearth-" HEARTH_VERSION;
  served.created = int64_t(std::time(nullptr));
  served.n_ctx = model.options().n_ctx;
  served.n_vocab = model.config().vocab_size;
  served.tokenizer = session.tokenizer.get();
  served.chat = format ? &*format : nullptr;
  if (format) served.chat_template = format->text();
  served.sampling = chosen_sampling(arguments.sampler, model.file().metadata(), served.chat);
  served.n_ctx_trained = model.config().context_length;
  served.n_params = int64_t(inspect(model.file()).n_parameters);
  served.file_bytes = model.file().file_bytes();
  const WeightPlaces places = weight_places(model, usable_memory());
  served.gpu = runs_on_gpu(model) ? session.gpu : "";
  served.gpu_bytes = places.gpu, served.memory_bytes = places.memory, served.disk_bytes = places.disk;
  return served;
}

// The model's own template, or the one that was named; a base model has none and continues texts.
std::optional<ChatTemplate> template_of(const ServeArguments& arguments, const LoadedModel& session) {
  return choose_chat_template(arguments.choices.chat_template, session.model->file().metadata(), *session.tokenizer);
}

// What large requests took, the allocator would keep, for each of the threads that handle them: hundreds of megabytes
// after a few. Blocks above the threshold go back when they are freed (the allocator would raise it by itself); below
// it is what the engine takes for each token, the rest of a large request is given back behind it.
constexpr size_t kLarge = 1 << 20;

void keep_no_large_blocks() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
#endif
}

void handle(server::Api& api, const server::HttpRequest& request,
            const std::shared_ptr<server::HttpExchange>& exchange) {
  api.handle(request, exchange);
#ifdef __GLIBC__
  if (request.body.size() > kLarge) malloc_trim(0);
#endif
}

void wait_for_signal() {
  while (!interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

// False: told to end meanwhile, which ends a server as well as it does later.
bool load(const SessionOptions& options, LoadedModel& session) try {
  session = open_session(options);
  return !interrupted();
} catch (const Error& error) {
  if (error.kind != ErrorKind::interrupted) throw;
  return false;
}

void serve(const ServeArguments& arguments) {
  keep_no_large_blocks();
  const auto loading = std::make_shared<server::LoadingState>();
  LoadedModel session;
  std::optional<ChatTemplate> format;
  std::optional<Engine> engine;
  // The port is there before the model is: who asks meanwhile is told how far it is. Everything that answers requests
  // goes before what it uses.
  server::Api api(loading);
  server::HttpServer http(http_options(arguments),
                          [&](const auto& request, const auto& exchange) { handle(api, request, exchange); });
  SessionOptions options = arguments.session;
  options.header_read = [&] {  // before that, what is wrong is one line
    note("hearth: listening on {}, loading {}\n", url(arguments.host, http.port()), options.load.path);
  };
  options.progress = [&](double share) { loading->progress(share); };
  if (!load(options, session)) return note("hearth: ending\n");
  format = template_of(arguments, session);
  if (!format) note("hearth: no chat template in the file: /v1/completions alone; --chat-template names one\n");
  const auto model = std::make_shared<server::ServedModel>(served(arguments, session, format));
  engine.emplace(*session.model, *session.tokenizer, arguments.max_waiting);
  loading->ready({model, &*engine});
  arguments.session.verbose ? print_banner(session) : print_summary(session);
  note("hearth: ready: {} at {}/v1, {} conversations at once, {} tokens each\n", model->id,
       url(arguments.host, http.port()), session.model->options().n_sequences, model->n_ctx);
  wait_for_signal();
  note("hearth: ending\n");
  api.cut();
  http.stop();
  tell_refusal(session, arguments.session);
}

}  // namespace

void add_serve(CLI::App& app) {
  auto arguments = std::make_shared<ServeArguments>();
  arguments->session.load.n_sequences = 4;
  CLI::App* command = app.add_subcommand("serve", "a server that speaks OpenAI's and Anthropic's protocols");
  add_model_option(*command, arguments->session);
  const auto add = [&](CLI::Option* option) { return option->group("Server"); };
  add(command->add_option("--host", arguments->host, "the address to listen on"))->capture_default_str();
  add(command->add_option("--port", arguments->port, "the port; 0: one that is free"))
      ->capture_default_str()
      ->transform(whole_number(0, 65535));
  add(command->add_option("--parallel", arguments->session.load.n_sequences,
                          "conversations at once, each with a whole context (default: 4)"))
      ->transform(whole_number(1, 256));
  add(command->add_option("--max-waiting", arguments->max_waiting, "requests that may wait for their turn"))
      ->capture_default_str()
      ->transform(whole_number(0, 100000));
  add(command->add_option("--api-key-file", arguments->key_file,
                          "a file of keys, one a line: who has none is refused"));
  add(command->add_flag("--no-api-key", arguments->no_key, "let everybody in who can reach --host"));
  add(command->add_option("--cors", arguments->origins, "a web page's origin that may ask, as http://localhost:3000")
          ->type_name("ORIGIN"));
  add(command
          ->add_option("--allow-host", arguments->hosts, "a name, besides addresses, that clients call this server by")
          ->type_name("NAME"));
  add(command->add_option("--alias", arguments->alias, "what clients call the model (default: the file's name)"));
  add(command->add_option("--chat-template", arguments->choices.chat_template,
                          "a file of Jinja text, or a built-in format"));
  add_sampler_options(*command, arguments->sampler);
  add_session_options(*command, arguments->session);
  command->callback([arguments] {
    try {
      serve(*arguments);
    } catch (const Error& error) {
      // Told to end while it loads: that is how servers end, and no failure.
      if (error.kind != ErrorKind::interrupted) throw;
    }
  });
}

}  // namespace hearth::cli
