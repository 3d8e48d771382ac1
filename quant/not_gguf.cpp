#include "quant/not_gguf.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <optional>
#include <regex>
#include <string_view>
#include <vector>

#include "quant/error.h"

namespace hearth {

namespace {

namespace fs = std::filesystem;

// A file name as a word of a shell.
std::string shell_word(const std::string& name) {
  const bool plain = std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) || c >= 0x80 || std::string_view("/._-+=:@%,").find(char(c)) != std::string_view::npos;
  });
  if (plain && !name.starts_with('-')) return name;
  std::string out = "'";
  for (const char c : name) c == '\'' ? out += "'\\''" : out += c;
  return out + "'";
}

// "x.gguf.part2of3" is number 2 of 3 of "x.gguf"; "x.gguf.partab" is number 1 ("aa" is 0) of unknown many.
struct FilePiece {
  std::string whole, separator;
  bool letters = false;
  uint64_t number = 0, count = 0;  // count 0: the name does not say
  std::string name;                // as it lies in the folder

  bool same_file(const FilePiece& other) const {
    return whole == other.whole && separator == other.separator && letters == other.letters && count == other.count;
  }
};

std::optional<FilePiece> piece_of(const std::string& name) {
  static const std::regex form(
      R"((.*\.gguf)([-_.]+|[-_.]*(?:part|piece|split|chunk)[-_.]*)(\d{1,5}|[a-z]{1,3})(?:[-_.]?of[-_.]?(\d{1,5}))?)",
      std::regex::icase);
  std::smatch match;
  if (!std::regex_match(name, match, form)) return std::nullopt;
  FilePiece piece{.whole = match[1], .separator = match[2], .name = name};
  const std::string tag = match[3], count = match[4];
  // Without a word before it, only what `split` makes: x.gguf.bak, .zip and .1 are other things.
  const bool word = std::ranges::any_of(piece.separator, [](unsigned char c) { return std::isalpha(c) != 0; });
  const bool like_split = tag.size() > 1 && (tag[0] == 'a' || std::isdigit(static_cast<unsigned char>(tag[0])));
  if (!word && !like_split && count.empty()) return std::nullopt;
  piece.letters = std::isalpha(static_cast<unsigned char>(tag[0])) != 0;
  if (piece.letters) {
    for (const char c : tag) piece.number = piece.number * 26 + uint64_t(std::tolower(c) - 'a');
  } else {
    std::from_chars(tag.data(), tag.data() + tag.size(), piece.number);
  }
  std::from_chars(count.data(), count.data() + count.size(), piece.count);
  return piece;
}

std::vector<FilePiece> pieces_beside(const fs::path& path, const FilePiece& like) {
  std::vector<FilePiece> pieces;
  std::error_code error;
  for (fs::directory_iterator it(path.parent_path().empty() ? "." : path.parent_path(), error), end;
       !error && it != end; it.increment(error)) {
    const std::optional<FilePiece> piece = piece_of(it->path().filename());
    if (piece && piece->same_file(like)) pieces.push_back(*piece);
  }
  std::ranges::sort(pieces, {}, &FilePiece::number);
  return pieces;
}

// The number of the first piece that is not there; nothing: none is known to be missing.
std::optional<uint64_t> first_missing(const std::vector<FilePiece>& pieces, const FilePiece& like) {
  const uint64_t first = like.letters || (like.count == 0 && !pieces.empty() && pieces[0].number == 0) ? 0 : 1;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].number != first + i) return first + i;
  }
  if (like.count > 0 && pieces.size() < like.count) return first + pieces.size();
  return std::nullopt;
}

// The first file with this ending, by name; empty: the folder has none.
std::string first_in(const fs::path& folder, std::string_view ending) {
  std::string found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.ends_with(ending) && (found.empty() || name < found)) found = name;
  }
  return found;
}

}  // namespace

std::string what_bytes_are(std::span<const std::byte> bytes) {
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 64));
  if (head.starts_with("version https://git-lfs")) return "a Git LFS pointer: the file itself was not downloaded";
  if (head.starts_with("PK")) return "a zip or PyTorch archive";
  if (head.starts_with("tjgg") || head.starts_with("fmgg") || head.starts_with("lmgg")) return "a GGML file of 2023";
  if (head.starts_with("<")) return "a web page";
  if (head.size() > 9 && head.substr(8, 2) == "{\"") {
    return "a safetensors file (hearth convert makes a GGUF file of the folder it lies in)";
  }
  if (head.starts_with("{")) return "a JSON file (hearth convert makes a GGUF file of a checkpoint's folder)";
  std::string hex;
  for (const std::byte b : bytes.first(std::min<size_t>(bytes.size(), 4))) hex += fmt::format(" {:02x}", uint8_t(b));
  return fmt::format("bytes that begin with{}", hex);
}

void refuse_folder(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return;
  const fs::path whole = fs::absolute(path).lexically_normal();
  const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename();
  require(first_in(path, ".safetensors").empty() && !fs::exists(fs::path(path) / "config.json", error), ErrorKind::file,
          "{}: is a checkpoint's folder, expected a GGUF file, which is made by: hearth convert {} {}", path,
          shell_word(path), shell_word(name + ".gguf"));
  const std::string gguf = first_in(path, ".gguf");
  require(gguf.empty(), ErrorKind::file, "{}: is a directory, expected a file: there is {} in it", path,
          (fs::path(path) / gguf).string());
  fail(ErrorKind::file, "{}: is a directory, expected a file", path);
}

void refuse_piece(const std::string& path) {
  const std::optional<FilePiece> piece = piece_of(fs::path(path).filename());
  if (!piece) return;
  const std::vector<FilePiece> pieces = pieces_beside(path, *piece);
  const fs::path folder = fs::path(path).parent_path();
  const std::string whole = shell_word((folder / piece->whole).string());
  const std::string what =
      fmt::format("is a piece{} of {}", piece->count ? fmt::format(" (one of {})", piece->count) : "", piece->whole);
  if (const auto missing = first_missing(pieces, *piece); missing || pieces.size() < 2) {
    fail(ErrorKind::format, "{}: {}: join all pieces with cat into {}, in their order; {}", path, what, whole,
         missing && piece->count ? fmt::format("number {} does not lie beside it", *missing)
                                 : "not all of them lie beside it");
  }
  std::string command = "cat";
  for (const FilePiece& p : pieces) command += " " + shell_word((folder / p.name).string());
  fail(ErrorKind::format, "{}: {}: join the pieces first: {} > {}", path, what, command, whole);
}

}  // namespace hearth
