// What a hub answers, lists and headers: what is taken leads to no place but below a folder, and has sizes that add up.
#include <ctime>

#include "quant/error.h"
#include "runtime/hub/answer_headers.h"
#include "runtime/hub/listing.h"
#include "runtime/hub/url.h"
#include "tests/fuzz/target.h"

namespace hearth::test {

namespace {

template <class Read>
bool taken(Read read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format, "text is refused as a format error");
    const std::string_view message = error.what();
    expect(message.find('\n') == std::string_view::npos && message.size() < 4000, "an error is one line");
    return false;
  }
}

void look_at(const std::vector<hub::HubFile>& files) {
  for (const hub::HubFile& file : files) {
    const std::string path = "/" + file.path + "/";
    expect(path.find("//") == std::string::npos, "a name is relative and has no empty parts");
    expect(path.find("/../") == std::string::npos && path.find("/./") == std::string::npos, "a name leads downwards");
    expect(path.find('\0') == std::string::npos, "a name is one of the file system's");
    expect(hub::is_hex(file.oid, 40) || hub::is_hex(file.oid, 64), "a blob's name is hexadecimal");
    expect(file.size < uint64_t(1) << 47, "sizes of many files add up without overflow");
  }
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
  bool any = taken([&] {
    const auto files = hub::parse_tree(text, "fuzz");
    look_at(files);
    check_names(files, "fuzz");
  });
  any |= taken([&] { expect(hub::is_hex(hub::parse_commit(text, "fuzz"), 40), "a commit is hexadecimal"); });
  any |= taken([&] {
    const std::string to = hub::follow("https://hub.org/a/b?c", text);
    expect(hub::origin_of(to).starts_with("https://"), "no way leads out of encryption");
  });
  if (const auto range = hub::parse_content_range(text)) {
    expect(range->first <= range->last && range->last < range->size, "a part lies in the whole");
    any = true;
  }
  const std::string next = hub::next_page(text);
  expect(text.find("<" + next + ">") != std::string::npos || next.empty(), "an address is one that was given");
  expect(hub::bare_etag(text).size() <= text.size(), "a tag is no longer than its header");
  for (const char* name : {"retry-after", "ratelimit"})
    any |= hub::seconds_to_wait({429, {{name, text}}}, 0).has_value();
  return any || !next.empty();
}

std::vector<std::string> fuzz_seeds() {
  const std::string sha1(40, 'a'), sha256(64, 'b');
  const std::string small = R"({"type":"file","oid":")" + sha1 + R"(","size":3,"path":"config.json"})";
  const std::string large = R"({"type":"file","oid":")" + sha1 + R"(","size":5,"path":"q4/a.gguf","lfs":{"oid":")" +
                            sha256 + R"(","size":5,"pointerSize":135}})";
  const std::string folder = R"({"type":"directory","oid":")" + sha1 + R"(","size":0,"path":"q4"})";
  return {"[" + small + "," + folder + "," + large + "]",
          R"({"sha":")" + sha1 + R"(","id":"lab/Tiny"})",
          "bytes 0-99/1234",
          "</api/x?a>; rel=\"prev\", <https://hub.org/api/x?cursor=1>; rel=\"next\"",
          "Sun, 06 Nov 1994 08:49:37 GMT",
          "\"api\";r=0;t=55",
          "https://cdn.hub.org/blob/x?Signature=y~z"};
}

}  // namespace hearth::test
