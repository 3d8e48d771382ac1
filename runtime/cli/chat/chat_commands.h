// The commands of a chat: what stands behind a slash.
#pragma once

#include <string>
#include <vector>

#include "runtime/cli/chat/chat_session.h"
#include "runtime/cli/chat/transcript.h"
#include "runtime/cli/line_editor.h"
#include "runtime/cli/session.h"

namespace hearth::cli {

// What `hearth chat` was told, apart from the settings.
struct ChatArguments {
  SessionOptions session;
  std::string transcript;  // path; "": none
  bool no_history = false, quiet = false;
};

// "/retry", ...; "/save PATH": what Tab completes (LineEditor).
std::vector<std::string> completed_commands();
// The names in a row, for --help.
std::string command_names();

// Carries out lines: commands, and messages that are answered on standard output. What commands say goes to standard
// error. Its members throw what the session throws.
class ChatCommands {
 public:
  ChatCommands(const ChatArguments& arguments, LoadedModel& model, ChatSession& session, LineEditor& editor);

  // One line: a command where its first word is one, else a message; "//TEXT" is the message /TEXT. False: leave.
  // Throws Error(usage) for a word that looks like a command and is none.
  bool obey(const std::string& line);
  void answer(const std::string& text);  // a message, whatever it looks like

  void stats(const std::string& = {});
  const ChatSession& session() const { return session_; }

 private:
  friend struct ChatCommandTable;

  void help(const std::string&);
  // talk_commands.cpp
  void retry(const std::string&);
  void edit(const std::string& text);
  void undo(const std::string&);
  void drop(const std::string&);
  void clear(const std::string&);
  // setting_commands.cpp
  void set(const std::string& name_and_value);
  void system(const std::string& text);
  void think(const std::string& value);
  void json(const std::string& schema);
  void change(const std::string& name, const std::string& value);
  // file_commands.cpp
  void save(const std::string& path);
  void load(const std::string& path);
  void file(const std::string& path);
  void copy(const std::string& what);

  template <class Ask>
  void converse(const std::string& question, Ask ask);
  void after_answer(const ChatSession::Reply& reply);
  void tell_context();
  std::string context_text() const;

  const ChatArguments& arguments_;
  LoadedModel& model_;
  ChatSession& session_;
  LineEditor& editor_;
  const ChatSettings at_start_;
  Transcript transcript_;
  std::string saved_at_;  // where the conversation was saved or loaded last; "": nowhere
  bool warned_ = false;   // that the context is nearly full
};

}  // namespace hearth::cli
