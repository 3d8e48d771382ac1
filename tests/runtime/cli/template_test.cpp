// Chat templates, thoughts and recommended sampling as a user meets them: the demo model with other words around it.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"

using namespace hearth::test;
using nlohmann::json;

namespace {

// Turns as the demo knows them; what comes behind <｜Assistant｜> is the case's.
std::string turns(const std::string& opening) {
  return "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
         "{% elif m['role'] == 'assistant' %}{{ '<｜Assistant｜>' + m['content'] + eos_token }}{% endif %}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}" +
         opening + "{% endif %}";
}

// The demo's checkpoint with another template (null: none), and perhaps a generation_config.json; converted.
std::string model_with(const TempDir& dir, const std::string& name, const json& chat_template,
                       const json& generation_config = nullptr) {
  const fs::path checkpoint = fs::path(dir / name) / "checkpoint";
  fs::create_directories(checkpoint);
  for (const auto& entry : fs::directory_iterator(demo_checkpoint()))
    if (entry.path().filename() != "tokenizer_config.json" && entry.path().filename() != "generation_config.json")
      fs::create_symlink(entry.path(), checkpoint / entry.path().filename());
  std::ifstream in(fs::path(demo_checkpoint()) / "tokenizer_config.json");
  json config = json::parse(in);
  config.erase("chat_template");
  if (!chat_template.is_null()) config["chat_template"] = chat_template;
  std::ofstream(checkpoint / "tokenizer_config.json") << config;
  if (!generation_config.is_null()) std::ofstream(checkpoint / "generation_config.json") << generation_config;
  const std::string out = dir / (name + ".gguf");
  const auto made = run_hearth({"convert", checkpoint.string(), out, "--recipe", "bf16"});
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);
  return out;
}

ProcessResult ask(const std::string& model, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"run", model, "What is 12 + 7?", "--temp", "0", "-n", "40"});
  return run_hearth(more);
}

json ask_json(const std::string& model, std::vector<std::string> more = {}) {
  more.push_back("--json");
  const auto result = ask(model, more);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  return json::parse(result.out);
}

}  // namespace

TEST_CASE("thoughts that the template opens are told apart") {
  TempDir dir;
  const std::string model = model_with(dir, "r1", turns("{{ '<think>\\n' }}"));
  const json object = ask_json(model);
  CHECK(object["thoughts"].get<std::string>() != "");  // the demo never closes them
  CHECK(object["text"] == "");
  const std::string thoughts = object["thoughts"];
  const auto shown = ask(model), hidden = ask(model, {"--hide-thoughts"});
  CHECK(shown.out.rfind("<think>\n" + thoughts, 0) == 0);
  CHECK(contains(shown.out, "\n</think>\n"));
  CHECK(hidden.out == "\n");
}

TEST_CASE("thinking is switched where the template has a switch") {
  TempDir dir;
  const std::string model =
      model_with(dir, "v3.1", turns("{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}"));
  CHECK(ask_json(model, {"--think"})["thoughts"] != "");
  CHECK(ask_json(model, {"--no-think"})["thoughts"] == "");
  CHECK(ask_json(model)["tokens"] == ask_json(model, {"--no-think"})["tokens"]);
  check_refused(ask(demo_model(), {"--think"}), 2, {"--think", "switch"});
}

TEST_CASE("a file without a template can be talked to in a format that is named") {
  TempDir dir;
  const std::string model = model_with(dir, "none", nullptr);
  check_refused(ask(model), 1, {"none.gguf", "no chat template", "--chat-template deepseek-"});
  check_refused(run_hearth({"chat", model}), 1, {"none.gguf", "--chat-template"});
  CHECK(run_hearth({"run", model, "-p", "The capital of France is", "-n", "2"}).exit_code == 0);
  CHECK(contains(ask(model, {"--chat-template", "deepseek-v3"}).out, "19"));
  std::ofstream(dir / "turns.jinja") << turns("");
  CHECK(contains(ask(model, {"--chat-template", dir / "turns.jinja"}).out, "19"));
  check_refused(ask(model, {"--chat-template", "deepseek-v9"}), 2, {"deepseek-v9", "deepseek-v3"});
}

TEST_CASE("a template that is not understood says where, and does not stop what needs none") {
  TempDir dir;
  std::ofstream(dir / "broken.jinja") << "{{ bos_token }}\n{% for m in messages %}\n{{ m['content' }}\n{% endfor %}";
  check_refused(ask(demo_model(), {"--chat-template", dir / "broken.jinja"}), 1, {"broken.jinja", "line 3"});
  std::ofstream(dir / "raises.jinja") << "{{ raise_exception('only pairs, please') }}";
  const auto raised = ask(demo_model(), {"--chat-template", dir / "raises.jinja"});
  CHECK(raised.exit_code != 0);
  CHECK(contains(raised.err, "only pairs, please"));
}

TEST_CASE("the checkpoint's own temperature and top-p are the default") {
  TempDir dir;
  const std::string model = model_with(dir, "warm", turns(""), {{"temperature", 0.9}, {"top_p", 0.5}});
  const auto verbose = run_hearth({"run", model, "hi", "-n", "1", "-v"});
  CHECK(contains(verbose.err, "temperature 0.9, top-p 0.5"));
  CHECK(contains(verbose.err, "by default the file's: temp 0.9, top_p 0.5"));
  const auto chosen = run_hearth({"run", model, "hi", "-n", "1", "-v", "--temp", "0.2"});
  CHECK(contains(chosen.err, "temperature 0.2, top-p 0.5"));
}
