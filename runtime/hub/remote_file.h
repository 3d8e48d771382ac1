// A file of a commit as the hub hands it out: where it is, and whether what is said of it there is what the list says.
#pragma once

#include <optional>
#include <string>

#include "runtime/hub/answer_headers.h"
#include "runtime/hub/listing.h"
#include "runtime/hub/transfers.h"

namespace hearth::hub {

struct DownloadSource {
  std::string endpoint, repository, commit;
};

class RemoteFile {
 public:
  // Both must outlive it.
  RemoteFile(const HubFile& file, const DownloadSource& source);

  const HubFile& file() const { return file_; }
  // Where a request begins: at the hub, until an answer has told where the file is.
  const std::string& url() const { return address_.empty() ? hub_url_ : address_; }
  bool is_located() const { return !address_.empty(); }
  void address_failed() { address_.clear(); }

  // What an answer on the way, or the one that brings bytes, says of the file. Throws Error(format): it is not what the
  // list says, or not what an answer before said.
  void passed(const std::string& url, const HttpHead& head) const;
  void begins(const std::string& url, const HttpHead& head);
  // Throw Error(format) unless the answer brings the bytes that were asked for (206); all of them (200).
  void check_part(const HttpHead& head, const std::optional<ByteRange>& asked) const;
  void check_whole(const HttpHead& head) const;

 private:
  void expect_same(const char* what, const std::string& listed, const std::string& found) const;

  const HubFile& file_;
  const DownloadSource& source_;
  std::string hub_url_;
  std::string address_;  // where the hub says it is; "": not asked yet
  std::string etag_;     // of the answers of that address; "": none so far
};

}  // namespace hearth::hub
