// The line editor with a person's keys, and at a pipe.
#include "runtime/cli/line_editor.h"

#include "tests/runtime/cli/person.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("a line, and the end") {
  REQUIRE(locale_is_set);
  Person person;
  person.type("hello");
  person.shows("> hello");
  person.type("\r");
  person.gets("line: hello\n");
  person.type("\x04");
  CHECK(person.exit_code() == 0);
  CHECK(person.got() == "line: hello\nend\n");
  CHECK(person.restored());
}

TEST_CASE("wide characters: the cursor is where it belongs" * doctest::skip(kLibedit)) {
  Person person;
  person.type("请翻译文字");
  person.shows("> 请翻译文字");
  person.type(kHome);
  person.type("x");
  person.shows("> x请翻译文字", 3);
  person.type(kRight);
  person.shows("> x请翻译文字", 5);
  person.type("\x7F");  // backspace
  person.shows("> x翻译文字", 3);
  person.type(kEnd);
  person.type(kLeft);
  person.type("y");
  person.shows("> x翻译文y字", 10);
  person.type("\r");
  person.gets("line: x翻译文y字\n");
}

TEST_CASE("emoji of several code points and combining marks leave nothing behind" * doctest::skip(kLibedit)) {
  const std::string family = "👩\u200D👩\u200D👧", accent = "e\u0301";
  Person person;
  person.type(family + "a" + accent + "b");
  person.shows("> " + family + "a" + accent + "b");
  person.type(std::string(kLeft) + kLeft + "\x7F");  // the a
  person.shows("> " + family + accent + "b", 8);
  person.type("\x0B");  // Ctrl-K
  person.shows("> " + family);
  person.type("\x15");  // Ctrl-U
  person.shows("> ");
  person.type("ok\r");
  person.gets("line: ok\n");
}

TEST_CASE("wide characters at the edge of the window, and lines longer than it" * doctest::skip(kLibedit)) {
  Person person({.rows = 6, .columns = 11});
  person.type("一二三四五");  // the fifth has one column left, and goes to the next row
  person.shows("五");
  CHECK(person.screen().row(0) == "> 一二三四");
  person.type(kHome);
  person.type("x");
  person.shows("> x一二三四", 3);
  CHECK(person.screen().row(1) == "五");
  person.type("\x7F");
  person.shows("> 一二三四", 2);
  person.type(kEnd);
  person.type("六七八九十\r");
  person.gets("line: 一二三四五六七八九十\n");

  std::string row;
  for (int i = 0; i < 30; ++i) row += fmt::format("{:02} is a row ", i);  // 12 columns each, 33 rows
  person.type(row);
  person.shows(" is a row ");
  person.type(kHome);
  person.shows("> 00 is a r", 2);
  person.type("X");
  person.shows("> X00 is a", 3);
  person.type("\x05");  // Ctrl-E: behind a full row, so at the beginning of the next
  person.shows("");
  CHECK(person.screen().row(person.screen().cursor_row() - 1) == "9 is a row");
  person.type("!\r");
  person.gets("line: 一二三四五六七八九十\nline: X" + row + "!\n");
}

TEST_CASE("several pasted lines are one message; tabs, control characters and quotes in them are text") {
  Person person;
  CHECK(person.screen().marks_pastes());
  person.paste("Sort these:\r3 1 2\rthank you");
  person.shows("thank you");
  person.type("\r");
  person.gets("text: Sort these:\\x0a3 1 2\\x0athank you\n");
  person.paste("a\tb");
  person.shows("> a     b");
  person.type("\r");
  person.gets("text: Sort these:\\x0a3 1 2\\x0athank you\nline: a\\x09b\n");
}

TEST_CASE("a line begins with what is given to be edited, in front of what was typed ahead") {
  Person person;
  person.type("edit caf\xC3\xA9!\r\x7F?\r");
  person.gets("line: edit café!\nline: café?\n");
  person.paste("edit one\ntwo^[201~^[A");
  person.type("\r");
  person.shows("two[201~[A");  // no control character of the text is a key
  person.type("\r");
  person.gets("line: edit café!\nline: café?\ntext: edit one\\x0atwo^[201~^[A\ntext: one\\x0atwo[201~[A\n");
}

TEST_CASE("pastes of all kinds") {
  const auto pasted = [](const std::string& text, const std::string& message) {
    CAPTURE(text);
    Person person;
    person.paste(text);
    person.type("\r");
    person.gets(message + "\n");
  };
  pasted("one\r\ntwo\r\n", "text: one\\x0atwo");
  pasted("one\ntwo\n\n", "text: one\\x0atwo\\x0a");
  pasted("C:\\folder\\", "line: C:\\folder\\");
  pasted("\"\"\"\ndef f():\n\"\"\"", "text: \"\"\"\\x0adef f():\\x0a\"\"\"");
  pasted("red \033[31m\007 and \x03\x1a\x1c\x04", "line: red \\x1b[31m\\x07 and \\x03\\x1a\\x1c\\x04");
  std::string lines, visible_lines;
  for (int i = 0; i < 200; ++i) {
    lines += fmt::format("line {} of many, with enough text to fill it\n", i);
    visible_lines += fmt::format("line {} of many, with enough text to fill it\\x0a", i);
  }
  pasted(lines + "last", "text: " + visible_lines + "last");
}

TEST_CASE("a long paste can be edited, and stays on the screen whole" * doctest::skip(kLibedit)) {
  Person person;
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += fmt::format("line {}\r", i);
  person.paste(lines + "end");
  person.shows("end");
  CHECK(person.screen().row(0) == "line 41");
  person.type("!");
  person.shows("end!");
  for (int i = 0; i < 3; ++i) person.type(kUp);
  person.shows("line 47", 4);
  person.type("X");
  person.shows("lineX 47", 5);
  person.type(kHome);
  person.shows("lineX 47", 0);
  person.type(kEnd);
  person.shows("lineX 47");
  for (int i = 0; i < 20; ++i) person.type(kUp);
  person.shows("line 27");
  person.type("\033[B\033[B");
  person.shows("line 29");
  const size_t seen = person.raw().size();
  person.type("\r");
  person.until([&] { return person.got().ends_with("lineX 47\\x0aline 48\\x0aline 49\\x0aend!\n"); });
  person.shows("> ");
  CHECK(person.raw().find("> line 0\r", seen) != std::string::npos);
  CHECK(person.screen().row(person.screen().cursor_row() - 1) == "end!");
}

TEST_CASE("a paste that was cut is ended by a key") {
  Person person;
  person.type("\033[200~half a paste");
  person.shows("> half a paste");
  person.type("\r");
  person.gets("line: half a paste\n");
  person.type("\033[200~one\rtw");
  person.shows("tw");
  person.type("o\rthree\033[201~");  // it was slow
  person.shows("three");
  person.type("\r");
  person.gets("line: half a paste\ntext: one\\x0atwo\\x0athree\n");
}

TEST_CASE("quotes open and close a block, a backslash continues a line") {
  Person person;
  person.type("\"\"\"\r");
  person.shows("... ");
  person.type("one\r");
  person.shows("... ");
  person.type("\r");
  person.type("two \\\r");
  person.paste("pasted\r\"\"\"");
  person.type("\r");
  person.type("three\"\"\"\r");
  std::string all = "text: one\\x0a\\x0atwo \\\\x0apasted\\x0a\"\"\"\\x0athree\n";
  person.gets(all);
  person.type("\"\"\"first\rlast\r\"\"\"\r");
  person.gets(all += "text: first\\x0alast\n");
  person.type("\"\"\"/exit\"\"\"\r");
  person.gets(all += "text: /exit\n");
  person.type("a \\\rb\\\rc\r");
  person.gets(all += "line: a \\x0ab\\x0ac\n");
  person.type("\"\"\"\rforgotten\r");
  person.shows("... ");
  person.type("\x03");
  person.gets(all += "interrupt\n");
  person.type("\"\"\"\rkept\r\x04");  // Ctrl-D ends what is there
  person.gets(all += "text: kept\n");
}

TEST_CASE("keys that mean nothing put nothing in") {
  Person person;
  for (const char* key : {"\033[15~",
                          "\033[20;5~",
                          "\033[[A",
                          "\033OP",
                          "\033[M !!",
                          "\033[<0;10;5M",
                          "\033[99;6u",
                          "\033]11;rgb:0000/0000/0000\007",
                          "\033P1$r0m\033\\",
                          "\033[?1;2c",
                          "\033[200",
                          "\033[I",
                          "\033\033[5~",
                          "\033[1;2P",
                          "\033[24~",
                          "\033é",
                          "\033[",
                          "\033O",
                          "\x1e",
                          "\033[57399u"}) {
    person.type(key);
  }
  person.type("clean");
  person.shows("> clean");
  person.type(std::string("\033OD\033[D\033[1~") + "un\033[4~ly\r");
  person.gets("line: uncleanly\n");
}

TEST_CASE("the window changes its size while somebody types" * doctest::skip(kLibedit)) {
  Person person({.rows = 8, .columns = 20});
  person.type("above\r");
  person.gets("line: above\n");
  person.type("twelve columns and a few more");
  person.shows(" a few more");
  person.resize(8, 40);
  person.shows("> twelve columns and a few more");
  CHECK(person.screen().row(0) == "> above");
  person.resize(8, 12);
  person.shows("ew more");
  person.type("!");
  person.shows("ew more!");
  person.resize(3, 9);
  person.type("?");
  person.until([&] { return person.screen().row(person.screen().cursor_row()).ends_with("!?"); });
  person.type("\r");
  person.gets("line: above\nline: twelve columns and a few more!?\n");
}

TEST_CASE("Tab completes commands and paths, and is nothing elsewhere") {
  const TempDir folder;
  fs::create_directories(folder.path() / "texts");
  std::ofstream(folder / "texts/one file.txt");
  std::ofstream(folder / "texts/请一");
  std::ofstream(folder / "texts/请二");
  std::ofstream(folder / "texts/.hidden");
  Person person({.columns = 120});
  const std::string texts = folder / "texts";
  const auto types = [&](const std::string& keys, const std::string& row) {
    CAPTURE(keys);
    person.type(keys);
    person.shows("> " + row);
    person.type("\x15");
    person.shows("> ");
  };
  types("/ex\t", "/exit");
  types("/r\tx", "/read x");
  types("/system te\t", "/system te");
  types("/h\t", "/hel");
  types("/set\ts\tt\tx", "/set stop x");
  types("/read " + texts.substr(0, texts.size() - 2) + "\t", "/read " + texts + "/");
  types("/read " + texts + "/one \t", "/read " + texts + "/one file.txt");
  types("see " + texts + "/o\t!", "see " + texts + "/one file.txt!");
  types("see " + texts + "/\xE8\xAF\xB7\t", "see " + texts + "/请");
  types("word\tnext\t", "wordnext");
  types("\ta", "a");
  person.type("/hel\t");
  person.until([&] { return person.screen().text().find("/help  /hello\n> /hel\n") != std::string::npos; });
  person.type("\x15/read " + texts + "/\t");
  person.until([&] { return person.screen().text().find("one file.txt  请一  请二\n") != std::string::npos; });
}

TEST_CASE("a dumb terminal") {
  Person person({.term = "dumb"});
  CHECK_FALSE(person.screen().marks_pastes());
  person.type("请翻译\x01x\r");
  person.gets("line: x请翻译\n");
  person.type("a line that is longer than the window has columns, moved sideways\r");
  person.until([&] {
    return person.got().ends_with("line: a line that is longer than the window has columns, moved sideways\n");
  });
  person.type("half\x03");
  person.until([&] { return person.got().ends_with("interrupt\n"); });
  person.send(SIGTERM);
  CHECK(person.exit_code() == 143);
  CHECK(person.restored());
}

TEST_CASE("from a pipe every line is a message as it stands") {
  const auto messages = [](const std::string& input) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const TempDir folder;
    const std::string log = folder / "got";
    const pid_t child = fork();
    if (child == 0) {
      dup2(ends[0], STDIN_FILENO);
      close(ends[1]);
      _exit(converse("", log));
    }
    close(ends[0]);
    REQUIRE(write(ends[1], input.data(), input.size()) == ssize_t(input.size()));
    close(ends[1]);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    std::ifstream file(log);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  CHECK(messages("") == "end\n");
  CHECK(messages("\xEF\xBB\xBF") == "line: \nend\n");
  CHECK(messages("one\r\n\r\ntwo\r\n") == "line: one\nline: \nline: two\nend\n");
  CHECK(messages("\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo") == "line: one\nline: \xEF\xBB\xBFtwo\nend\n");
  CHECK(messages("a\\\nb\\") == "line: a\\\nline: b\\\nend\n");
  CHECK(messages("\"\"\"\na\n\"\"\"") == "line: \"\"\"\nline: a\nline: \"\"\"\nend\n");
  CHECK(messages(std::string("a\0b\n\tc\rd\r", 9)) == "line: a\\x00b\nline: \\x09c\\x0dd\nend\n");
  CHECK(messages(std::string(60000, 'x') + "\ny\n") == "line: " + std::string(60000, 'x') + "\nline: y\nend\n");
}
