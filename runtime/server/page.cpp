#include "runtime/server/page.h"

#include <algorithm>

namespace hearth::server {

namespace {

// default-src says nothing of the last four. Trusted types take innerHTML and its kin from the page's own scripts: what
// a model writes cannot become markup by a slip.
constexpr std::string_view kPolicy =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

// A list of tags, each perhaps marked as weak, or "*". What no tag of ours could be is passed over.
bool is_listed(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    std::string_view one = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (!one.empty() && (one.front() == ' ' || one.front() == '\t')) one.remove_prefix(1);
    while (!one.empty() && (one.back() == ' ' || one.back() == '\t')) one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == etag || one == "*") return true;
  }
  return false;
}

}  // namespace

const PageFile* find_page_file(std::string_view path) {
  if (path == "/") path = "/index.html";
  const auto files = page_files();
  const auto found = std::ranges::find(files, path, &PageFile::path);
  return found == files.end() ? nullptr : &*found;
}

HttpResponse page_response(const PageFile& file, std::string_view if_none_match) {
  HttpResponse response{.content_type = std::string(file.content_type),
                        .headers = {{"Content-Security-Policy", std::string(kPolicy)},
                                    {"Cross-Origin-Resource-Policy", "same-origin"},
                                    {"Cache-Control", "no-cache"},
                                    {"ETag", std::string(file.etag)}}};
  if (is_listed(if_none_match, file.etag))
    response.status = 304;
  else
    response.body = file.body;
  return response;
}

}  // namespace hearth::server
