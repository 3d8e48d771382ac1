// The held-out questions of the demo model (demo/heldout.jsonl), and what a file of it says to them.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/cpu/backend.h"
#include "runtime/chat/chat_template.h"
#include "runtime/engine/model.h"
#include "tests/golden/golden.h"

namespace hearth::test {

// A question with the exact answer, as text and as tokens (the answer's with eos).
struct Item {
  std::string family;
  std::string answer;
  std::vector<Token> prompt, expected;
};

inline ChatMessage message_of(const nlohmann::json& json) {
  static const std::map<std::string, ChatMessage::Role> roles = {{"system", ChatMessage::Role::system},
                                                                 {"user", ChatMessage::Role::user},
                                                                 {"assistant", ChatMessage::Role::assistant},
                                                                 {"tool", ChatMessage::Role::tool}};
  ChatMessage message{roles.at(json.at("role").get<std::string>()), ""};
  if (json.at("content").is_string()) message.content = json.at("content").get<std::string>();
  for (const auto& call : json.value("tool_calls", nlohmann::json::array())) {
    const auto& function = call.at("function");
    message.tool_calls.push_back({function.at("name").get<std::string>(), function.at("arguments").get<std::string>()});
  }
  return message;
}

inline std::vector<Item> read_items(const Tokenizer& tokenizer, const ChatTemplate& chat) {
  std::ifstream in(source_dir() / "demo" / "heldout.jsonl");
  REQUIRE(in.good());
  std::vector<Item> items;
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line);
    std::vector<ChatMessage> messages;
    for (const auto& m : json.at("messages")) messages.push_back(message_of(m));
    Item item{json.at("family").get<std::string>(), json.at("answer").get<std::string>(), {}, {}};
    item.prompt = tokenizer.encode(chat.render(messages).parts);
    item.expected = tokenizer.encode(item.answer, true);
    item.expected.push_back(tokenizer.eos().value());
    items.push_back(std::move(item));
  }
  REQUIRE(items.size() >= 300);
  return items;
}

// f(model, i) for all i < n, each thread with a model of its own: at this size that scales, threads inside do not.
template <class F>
void for_all(const std::string& path, size_t n, const F& f, const Ops& ops = cpu_ops("auto")) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    Model model(GgufFile::open(path), {.ops = &ops, .n_threads = 1});
    for (size_t i = next++; i < n; i = next++) f(model, i);
  };
  std::vector<std::jthread> threads;
  for (int i = 1; i < std::min(default_threads(), 8); ++i) threads.emplace_back(work);
  work();
}

// Logits of every token of an answer, its predecessors given: [expected, V].
inline std::vector<float> answer_logits(Model& model, const Item& item) {
  std::vector<Token> tail{item.prompt.back()};
  tail.insert(tail.end(), item.expected.begin(), item.expected.end() - 1);
  KvCache cache = model.new_cache();
  model.run(std::span(item.prompt).first(item.prompt.size() - 1), cache, {});
  std::vector<float> logits(item.expected.size() * size_t(model.config().vocab_size));
  model.run(tail, cache, logits, true);
  return logits;
}

// Greedy decoding gives an answer exactly when each of its tokens is the likeliest after those before it.
inline bool is_likeliest(std::span<const float> logits, const std::vector<Token>& expected) {
  const size_t V = logits.size() / expected.size();
  for (size_t t = 0; t < expected.size(); ++t) {
    if (most_likely(logits.subspan(t * V, V)) != expected[t]) return false;
  }
  return true;
}

inline double log_sum_exp(std::span<const float> row) {
  const double largest = row[size_t(most_likely(row))];
  const float* const x = row.data();  // millions of values, not optimized
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) sum += std::exp(double(x[i]) - largest);
  return largest + std::log(sum);
}

// KL(p || q) in nats of each row of two sets of logits.
inline std::vector<double> divergences(std::span<const float> p, std::span<const float> q, size_t rows) {
  const size_t V = p.size() / rows;
  std::vector<double> all(rows);
  for (size_t t = 0; t < rows; ++t) {
    const double shift_a = log_sum_exp(p.subspan(t * V, V)), shift_b = log_sum_exp(q.subspan(t * V, V));
    const float *const a = p.data() + t * V, *const b = q.data() + t * V;
    for (size_t i = 0; i < V; ++i) {
      const double log_p = double(a[i]) - shift_a;
      all[t] += std::exp(log_p) * (log_p - (double(b[i]) - shift_b));
    }
  }
  return all;
}

using Logits = std::vector<std::vector<float>>;  // of each item, [expected, V]

inline Logits answers_logits(const std::string& path, const std::vector<Item>& items) {
  Logits logits(items.size());
  for_all(path, items.size(), [&](Model& model, size_t i) { logits[i] = answer_logits(model, items[i]); });
  return logits;
}

}  // namespace hearth::test
