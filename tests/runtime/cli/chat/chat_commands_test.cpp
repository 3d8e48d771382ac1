// The commands that change a conversation, line by line from a pipe.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/runtime/cli/chat/piped_chat.h"

using namespace hearth::test;

TEST_CASE("/help lists every command on one screen, as --help and Tab have them") {
  const auto help = piped_chat("/help\n");
  CHECK(help.exit_code == 0);
  const auto lines = lines_of(help.err);
  CHECK(lines.size() < 24);
  const std::string all = run_hearth({"chat", "--help"}).out;
  const size_t begin = all.find("/help /set");
  REQUIRE(begin != std::string::npos);
  const std::string names = all.substr(begin, all.find('\n', begin) - begin);
  CHECK(std::ranges::count(names, '/') >= 16);
  for (const std::string& line : lines) {
    if (!line.starts_with("What is typed")) CHECK_MESSAGE(line.size() <= 80, line);
    if (line.starts_with("/") && !line.starts_with("//"))
      CHECK_MESSAGE(contains(names, line.substr(0, line.find(' '))), line);
  }
}

TEST_CASE("/retry, /edit and /undo") {
  const auto result = piped_chat(kAskFrance + kAskSum + "/retry\n/edit What is 2 + 3?\n/undo\n/undo\n/undo\n/stats\n");
  INFO(result.err);
  const auto answers = lines_of(result.out);
  REQUIRE(answers.size() == 4);
  CHECK(contains(answers[1], "19"));
  CHECK(answers[2] == answers[1]);
  CHECK(contains(answers[3], "5"));
  CHECK(contains(result.err, "(the same answer: the temperature is 0"));
  CHECK(contains(result.err, "(taken back: What is 2 + 3?; "));
  CHECK(contains(result.err, "(taken back: What is the capital of France?; 0 of "));
  CHECK(contains(result.err, "line 7: nothing was asked that could be taken back"));
  CHECK(contains(result.err, "context 0 of "));
  CHECK(result.exit_code == 2);
}

TEST_CASE("in a pipe /edit wants the new text, and nothing can be done again at the beginning") {
  const auto result = piped_chat("/retry\n/edit x\n/copy\n" + kAskSum + "/edit\n");
  CHECK(result.exit_code == 2);
  CHECK(contains(result.err, "line 1: nothing was asked yet"));
  CHECK(contains(result.err, "line 2: nothing was asked yet"));
  CHECK(contains(result.err, "line 3: /copy: there is no answer yet"));
  CHECK(contains(result.err, "line 5: /edit: expected the new text"));
}

TEST_CASE("/set shows and changes settings, and an answer keeps to them") {
  const auto result =
      piped_chat("/set\n/set max_tokens 2\n" + kAskFrance +
                     "/set max_tokens default\n/retry\n/set parameter top_p 0.5\n/set stop a\n/set stop\n"
                     "/set temperature hot\n/set warmth 1\n/set seed\n",
                 {"--seed", "77"});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  const auto answers = lines_of(result.out);
  REQUIRE(answers.size() == 2);
  CHECK(answers[1].starts_with(answers[0]));
  CHECK(answers[1].size() > answers[0].size());
  for (const char* line : {"temperature        0\n", "seed               77\n", "max_tokens         off\n",
                           "system             off\n", "max_tokens         2\n", "top_p              0.5\n",
                           "stop               \"a\"\n", "seed               78\n"})  // one answer was asked for again
    CHECK_MESSAGE(contains(result.err, line), line);
  CHECK(contains(result.err, "(cut short after 2 tokens, as max_tokens says)"));
  CHECK(contains(result.err, "line 9: temperature: expected a number from 0 to 100, found \"hot\""));
  CHECK(contains(result.err, "line 10: warmth: no such setting (/set lists them)"));
}

TEST_CASE("/system starts anew, /set system goes on") {
  const auto result = piped_chat(kAskSum +
                                 "/set system Be brief.\n/stats\n/set system off\n/system\n/system Be kind.\n"
                                 "/system\n/stats\n/system off\n/system \xff\n");
  INFO(result.err);
  CHECK(contains(result.err, "system             Be brief."));
  CHECK(contains(result.err, "(no system message)"));
  CHECK(contains(result.err, "(a new conversation under this system message)\nBe kind.\n"));
  CHECK(contains(result.err, "(a new conversation under no system message)"));
  CHECK(contains(result.err, "line 10: /system: expected UTF-8"));
  const size_t first = result.err.find("context "), second = result.err.find("context 0 of");
  CHECK(first < second);
  CHECK(second != std::string::npos);
}

TEST_CASE("/think switches where the template can, and says why where it cannot") {
  const auto thinking = piped_chat("/think on\n" + kAskSum + "/think off\n" + kAskSum + "/think\n/think perhaps\n",
                                   {"--chat-template", "deepseek-v3.1", "-n", "8"});
  INFO(thinking.err);
  CHECK(thinking.out.starts_with("<think>\n"));
  CHECK(std::ranges::count(thinking.out, '<') >= 2);
  CHECK(thinking.out.find("<think>", 1) == std::string::npos);  // not the second time
  const size_t on = thinking.err.find("think              on\n"), off = thinking.err.find("think              off\n");
  CHECK(on < off);
  CHECK(off < thinking.err.rfind("think              off\n"));  // what /think alone says
  CHECK(contains(thinking.err, "line 6: think: expected on, off or default, found \"perhaps\""));
  const auto plain = piped_chat("/think on\n");
  CHECK(plain.exit_code == 2);
  CHECK(contains(plain.err, "has no switch for thinking: it knows no thoughts"));
  CHECK(contains(piped_chat("/think on\n", {"--chat-template", "deepseek-r1"}).err, "its model thinks as it likes"));
}

TEST_CASE("a nearly full context is told once, and how to make room when it is full") {
  std::string input;
  for (int i = 0; i < 12; ++i) input += kAskSum;
  const auto result = piped_chat(input + "/undo\n/retry\n", {"--ctx", "128"});
  INFO(result.err);
  CHECK(result.exit_code == 1);
  const size_t nearly = result.err.find("(the context is nearly full: "), full = result.err.find("the context of 128");
  CHECK(nearly < full);
  CHECK(full != std::string::npos);
  CHECK(contains(result.err, "/undo takes the last turn back, /drop forgets the oldest ones, /clear starts anew"));
  CHECK(contains(result.err, "; /retry asks the message that waits)"));
  const std::string after = result.err.substr(result.err.rfind("(taken back"));
  CHECK(!contains(after, "do not fit"));  // there was room for it then
}

TEST_CASE("other programs' words for commands") {
  const auto result = piped_chat("/?\n" + kAskSum + "/regen\n/new\n/stats\n/bye\nnever read\n");
  CHECK(result.exit_code == 0);
  CHECK(lines_of(result.out).size() == 2);
  CHECK(contains(result.err, "/retry "));
  CHECK(contains(result.err, "(a new conversation)"));
  CHECK(contains(result.err, "2 answers"));
}
