# Writes the files of the web page into a C++ source (runtime/server/page.h), so that the program carries them.
#
#   cmake -DFROM=FOLDER "-DFILES=index.html;chat.js;..." -DTO=page_files.cpp -P cmake/page_files.cmake
cmake_minimum_required(VERSION 3.22)
set(type_of_html "text/html")
set(type_of_css "text/css")
set(type_of_js "text/javascript")
set(type_of_svg "image/svg+xml")

set(rows "")
foreach(file ${FILES})
  get_filename_component(ending ${file} LAST_EXT)
  string(SUBSTRING ${ending} 1 -1 ending)
  if(NOT DEFINED type_of_${ending})
    message(FATAL_ERROR "${file}: expected a file that ends in html, css, js or svg, found .${ending}")
  endif()
  file(READ ${FROM}/${file} text)
  file(SHA256 ${FROM}/${file} hash)
  string(SUBSTRING ${hash} 0 32 hash)
  string(FIND "${text}" ")hearth\"" closing)
  if(NOT closing EQUAL -1)
    message(FATAL_ERROR "${file}: holds )hearth\", which ends a text in what this writes")
  endif()
  string(APPEND rows "    {\"/${file}\", \"${type_of_${ending}}; charset=utf-8\", \"\\\"${hash}\\\"\", R\"hearth(${text})hearth\"sv},\n")
endforeach()
file(WRITE ${TO}.new "// Made by cmake/page_files.cmake.\n#include \"runtime/server/page.h\"\n
using namespace std::literals;\n
namespace hearth::server {\n
namespace {
constexpr PageFile kFiles[] = {
${rows}};
}  // namespace\n
std::span<const PageFile> page_files() {\n  return kFiles;\n}\n
}  // namespace hearth::server\n")
file(RENAME ${TO}.new ${TO})
