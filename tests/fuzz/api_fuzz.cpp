// Requests of every endpoint: whatever a body holds, there is exactly one answer, in JSON or in whole events, and a
// refusal is one line. The input is the path, a line end, and the body. Most mutations of a text are no JSON any more:
// of
// "*3" instead of a path the rest are pairs of bytes, which put other values into the fourth of the requests below.
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/server/api.h"
#include "tests/fuzz/target.h"
#include "tests/runtime/chat/chat_vocabulary.h"

namespace hearth::test {

namespace {

using server::Json;

// Answers at once, with a few bytes that are no whole character, and fails now and then.
class QuickGenerator : public Generator {
 public:
  uint64_t submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) override {
    const Sampler checked(request.sampling);
    expect(!request.prompt.empty(), "there is a prompt");
    if (request.prompt.size() > 4000) throw ContextOverflow(int64_t(request.prompt.size()), 4000);
    if (request.prompt.size() % 13 == 5) throw QueueFull(1, 1);
    const int64_t n = int64_t(request.prompt.size());
    listener->reading({.total = n, .done = n});
    if (request.prompt.size() % 17 == 3) {
      listener->failed(Error(ErrorKind::model, "broken"));
      return 1;
    }
    int64_t said = 0;
    for (Token token = 60; token < 72 && said != request.max_tokens; ++token, ++said) {
      GeneratedToken generated{.token = Token(token * 3), .logprob = -1};
      for (int k = 0; k < request.n_logprobs; ++k) generated.likeliest.push_back({Token(k), -2});
      if (!listener->token(generated)) break;
    }
    listener->finished({.prompt_tokens = n, .generated_tokens = said});
    return 1;
  }
  void cancel(uint64_t) override {}
  EngineStatus status() const override { return {.max_running = 1, .max_waiting = 50}; }
};

class OneAnswer : public server::HttpExchange {
 public:
  int n_answers = 0, n_ends = 0, status = 0;
  std::string body;

  void reply(server::HttpResponse response) override {
    ++n_answers;
    ++n_ends;
    status = response.status;
    body = response.body;
  }
  void begin(int code, const std::string&, const server::HttpHeaders&) override {
    ++n_answers;
    status = code;
  }
  void send(std::string piece) override {
    expect(n_answers == 1 && n_ends == 0, "pieces come after the beginning and before the end");
    body += piece;
  }
  void end() override { ++n_ends; }
  void when_left(std::function<void()>) override {}
};

struct FuzzVocabulary : ChatVocabulary {
  FuzzVocabulary() {
    for (const char* mark : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) add(mark, TokenType::control);
  }
};

server::Api& api() {
  static const Tokenizer tokenizer(FuzzVocabulary().metadata());
  static const auto chat = choose_chat_template("deepseek-v3.1", FuzzVocabulary().metadata(), tokenizer);
  static QuickGenerator generator;
  static server::Api one([] {
    auto loading = std::make_shared<server::LoadingState>();
    loading->ready({std::make_shared<server::ServedModel>(server::ServedModel{
                        .id = "tiny", .version = "hearth", .n_ctx = 4000, .tokenizer = &tokenizer, .chat = &*chat}),
                    &generator});
    return loading;
  }());
  return one;
}

struct Asked {
  std::string path, body;
};

std::vector<Json*> nodes_of(Json& json) {
  std::vector<Json*> nodes{&json};
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i]->is_structured())
      for (Json& child : *nodes[i]) nodes.push_back(&child);
  return nodes;
}

const std::vector<Json>& strange_values() {
  static const std::vector<Json> values = [] {
    std::vector<Json> all = {nullptr,
                             true,
                             false,
                             0,
                             1,
                             -1,
                             7,
                             1.5,
                             1e300,
                             -1e300,
                             UINT64_MAX,
                             INT64_MIN,
                             "",
                             "x",
                             "none",
                             "text",
                             "user",
                             "assistant",
                             "tool",
                             "enabled",
                             "image_url",
                             "<think>",
                             "\u0000",
                             Json::array(),
                             Json::object(),
                             {1, 2, 3},
                             {"a", "b"},
                             {{"type", "text"}, {"text", "t"}},
                             {{"role", "user"}}};
    Json deep = 1;
    for (int i = 0; i < 100; ++i) deep = Json::array({deep});
    all.push_back(deep);
    all.push_back(std::string(5000, 'x'));
    return all;
  }();
  return values;
}

std::vector<std::string> requests();

Asked asked_by(const std::string& text) {
  const size_t line = std::min(text.find('\n'), text.size());
  const std::string path = text.substr(0, line), rest = text.substr(std::min(line + 1, text.size()));
  if (!path.starts_with('*')) return {path, rest};
  static const std::vector<std::string> all = requests();
  const std::string& request = all[size_t(path.size() > 1 ? path[1] - '0' : 0) % all.size()];
  const size_t end = request.find('\n');
  Json body = Json::parse(request.substr(end + 1));
  for (size_t i = 0; i + 1 < rest.size() && i < 16; i += 2) {
    const std::vector<Json*> nodes = nodes_of(body);
    const size_t which = uint8_t(rest[i]) % nodes.size();
    if (which != 0) *nodes[which] = strange_values()[uint8_t(rest[i + 1]) % strange_values().size()];
  }
  return {request.substr(0, end), body.dump()};
}

// Each event is lines of one kind and JSON, but for the last of some protocols.
void check_events(const std::string& text) {
  expect(text.ends_with("\n\n"), "a stream ends with a whole event");
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find("\n\n", begin), data = text.find("data: ", begin);
    expect(data < end, "an event has data");
    const std::string json = text.substr(data + 6, end - data - 6);
    expect(json == "[DONE]" || Json::accept(json), "an event's data is JSON");
    begin = end + 2;
  }
}

std::vector<std::string> requests() {
  const std::string sampling =
      R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":5,"seed":7,"logit_bias":{"5":-1.5},"frequency_penalty":1,)"
      R"("max_tokens":9,"stop":["x","end"],)";
  return {
      "/v1/chat/completions\n{" + sampling +
          R"("n":2,"stream":true,"logprobs":true,"top_logprobs":2,"stream_options":{"include_usage":true},)"
          R"("messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"é\u00e9"}]},)"
          R"({"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"id":"a","type":"function",)"
          R"("function":{"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","tool_call_id":"a","content":"t"}]})",
      "/v1/chat/completions\n"
      R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"a"}],"reasoning_effort":"high",)"
      R"("chat_template_kwargs":{"thinking":true,"x":[1]},"tools":[{"type":"function","function":{"name":"f",)"
      R"("description":"d","parameters":{"type":"object"}}}],"tool_choice":"auto","response_format":{"type":"text"},)"
      R"("continue_final_message":false})",
      "/v1/completions\n{" + sampling + R"("prompt":["a",[5,6]],"logprobs":2,"n":2})",
      "/v1/completions\n{" + sampling + R"("prompt":"a","suffix":"b","stream":true})",
      "/infill\n"
      R"({"input_prefix":"a","input_suffix":"b","prompt":"c","input_extra":[{"filename":"f","text":"t"}],"n_predict":3})",
      "/v1/responses\n"
      R"({"input":[{"role":"developer","content":"d"},{"type":"reasoning","summary":[]},{"type":"message","role":)"
      R"("user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call","call_id":"a","name":"f"},)"
      R"({"type":"function_call_output","call_id":"a","output":"o"}],"instructions":"i","stream":true,)"
      R"("reasoning":{"effort":"low"},"text":{"format":{"type":"text"}},"tools":[{"type":"web_search"},)"
      R"({"type":"function","name":"f","parameters":{}}],"tool_choice":{"type":"none"}})",
      "/v1/messages\n"
      R"({"max_tokens":9,"system":[{"type":"text","text":"x-anthropic-billing-header: a;\nb"}],"stream":true,)"
      R"("thinking":{"type":"enabled"},"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"auto",)"
      R"("disable_parallel_tool_use":true},"stop_sequences":["q"],"messages":[{"role":"user","content":"Hi"},)"
      R"({"role":"assistant","content":[{"type":"thinking","thinking":"t"},{"type":"tool_use","id":"a","name":"f",)"
      R"("input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"r"}]}]})",
      R"(/v1/messages/count_tokens)"
      "\n"
      R"({"messages":[{"role":"user","content":"Hi"}]})",
      "/tokenize\n{\"content\":\"ab\",\"add_special\":true,\"with_pieces\":true}",
      "/detokenize\n{\"tokens\":[1,2,3]}",
      "/apply-template\n{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
  };
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  static const std::set<int> statuses = {200, 400, 404, 405, 429, 500, 501};
  const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
  const Asked asked = asked_by(text);
  const auto exchange = std::make_shared<OneAnswer>();
  api().handle({.method = "POST", .path = asked.path, .body = asked.body}, exchange);
  expect(exchange->n_answers == 1 && exchange->n_ends == 1, "there is one answer, and it ends");
  expect(statuses.contains(exchange->status), "the status is one that clients are told of");
  if (exchange->status == 200 && exchange->body.find("data: ") < 40) {
    check_events(exchange->body);
    return true;
  }
  const Json answer = Json::parse(exchange->body, nullptr, false);
  expect(answer.is_object(), "an answer is an object");
  if (exchange->status == 200) return true;
  const std::string message = answer["error"]["message"];
  expect(!message.empty() && message.size() < 2000, "an error has a message");
  expect(message.find('\n') == std::string::npos, "an error is one line");
  return false;
}

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = requests();
  const size_t n = seeds.size();
  for (size_t i = 0; i < n; ++i) seeds.push_back("*" + std::string(1, char('0' + i)) + "\n" + std::string(4, '\0'));
  return seeds;
}

}  // namespace hearth::test
