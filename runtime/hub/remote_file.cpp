#include "runtime/hub/remote_file.h"

#include "quant/error.h"
#include "runtime/hub/one_line.h"
#include "runtime/hub/url.h"

namespace hearth::hub {

RemoteFile::RemoteFile(const HubFile& file, const DownloadSource& source)
    : file_(file),
      source_(source),
      hub_url_(source.endpoint + "/" + source.repository + "/resolve/" + source.commit + "/" +
               percent_encoded(file.path, true)) {}

void RemoteFile::expect_same(const char* what, const std::string& listed, const std::string& found) const {
  require(listed == found, ErrorKind::format, "{}: the hub changed its mind: expected {} {}, found {}", file_.path,
          what, listed, one_line(found, 100));
}

// What the hub says of the file where it hands it out, or says who does, must be what its list says.
void RemoteFile::passed(const std::string& url, const HttpHead& head) const {
  if (origin_of(url) != origin_of(source_.endpoint)) return;
  if (const std::string commit = head.header("x-repo-commit"); !commit.empty())
    expect_same("commit", source_.commit, commit);
  if (const std::string size = head.header("x-linked-size"); !size.empty())
    expect_same("bytes", std::to_string(file_.size), size);
  std::string etag = bare_etag(head.header("x-linked-etag"));
  if (etag.empty()) etag = bare_etag(head.header("etag"));
  if (is_hex(etag, file_.oid.size())) expect_same("checksum", file_.oid, etag);  // some hubs have other tags
}

void RemoteFile::begins(const std::string& url, const HttpHead& head) {
  passed(url, head);
  const std::string etag = bare_etag(head.header("etag"));
  if (address_ == url && !etag_.empty() && !etag.empty()) expect_same("the entity tag", etag_, etag);
  etag_ = etag;
  address_ = url;
}

void RemoteFile::check_part(const HttpHead& head, const std::optional<ByteRange>& asked) const {
  const auto found = parse_content_range(head.header("content-range"));
  const ContentRange expected{asked ? asked->first : 0, asked ? asked->last : file_.size - 1, file_.size};
  require(asked && found == expected, ErrorKind::format,
          "{}: the hub changed its mind: expected bytes {} to {} of {}, found {}", file_.path, expected.first,
          expected.last, expected.size,
          found ? fmt::format("{} to {} of {}", found->first, found->last, found->size) : "no such part");
}

void RemoteFile::check_whole(const HttpHead& head) const {
  const auto length = parse_number(head.header("content-length"));
  require(!length || *length == file_.size, ErrorKind::format,
          "{}: the hub changed its mind: expected {} bytes, found {}", file_.path, file_.size, length.value_or(0));
}

}  // namespace hearth::hub
