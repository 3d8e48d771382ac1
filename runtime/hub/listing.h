// What is in a repository, by the hub's own words. Nothing in them is trusted: names that would lead out of a folder,
// sizes that nothing has, answers without end are refused.
//
// Format: the Hub's API, GET /api/models/REPOSITORY/revision/REVISION and .../tree/COMMIT?recursive=true
// (https://huggingface.co/docs/hub/api).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::hub {

inline constexpr size_t kMostAnswerBytes = 8 << 20;  // of one answer: a page of 1000 files takes half a megabyte
inline constexpr size_t kMostFiles = 100'000;

struct HubFile {
  std::string path;   // "folder/name", harmless below any folder
  uint64_t size = 0;  // bytes
  std::string oid;    // 64 hexadecimal digits, the content's SHA-256, or 40, the SHA-1 of git's blob; names the blob
  bool is_sha256() const { return oid.size() == 64; }
};

// `text` is hexadecimal, in small letters, of `digits` digits.
bool is_hex(std::string_view text, size_t digits);

// Throw Error(usage) naming what is expected. REPOSITORY: "NAME" or "ORGANIZATION/NAME"; REVISION: a branch, a tag, a
// commit.
void check_repository(std::string_view name);
void check_revision(std::string_view name);

// The commit that a revision means, 40 hexadecimal digits. `place` begins the messages. Throws Error(format).
std::string parse_commit(std::string_view text, const std::string& place);

// The files of one page, in its order. Throws Error(format): no JSON, names that are absolute, have "..", or are links;
// no size or checksum.
std::vector<HubFile> parse_tree(std::string_view text, const std::string& place);

// Of all pages together. Throws Error(format): too many, a name that comes twice or is a file and a folder at once.
void check_names(const std::vector<HubFile>& files, const std::string& place);

}  // namespace hearth::hub
