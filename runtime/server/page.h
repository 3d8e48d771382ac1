// The web page at `/`: files that the program carries (web/, put into it by cmake/page_files.cmake). They hold nothing
// that is anybody's, so they are served without a key and while the model loads.
#pragma once

#include <span>
#include <string_view>

#include "runtime/server/http.h"

namespace hearth::server {

struct PageFile {
  std::string_view path;          // "/chat.js"
  std::string_view content_type;  // "text/javascript; charset=utf-8"
  std::string_view etag;          // a quoted hash of the body
  std::string_view body;
};

std::span<const PageFile> page_files();

// What "/" stands for is /index.html. Null: no file of the page.
const PageFile* find_page_file(std::string_view path);

// The file, or 304 where the browser has it as it is (If-None-Match, RFC 9110 13.1.2). Its policy lets the page load
// what this server has and nothing else: no script or style within the document, no other origin, no frame around it.
HttpResponse page_response(const PageFile& file, std::string_view if_none_match);

}  // namespace hearth::server
