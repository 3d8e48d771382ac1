#include "runtime/grammar/uri.h"

#include <cctype>
#include <charconv>

namespace hearth::grammar {
namespace {

struct Parts {
  std::string scheme, authority, path, query, fragment;  // each with its mark: "http:", "//host", "?q", "#f"
};

Parts split(std::string_view uri) {
  Parts parts;
  const auto cut = [&](size_t at) {
    const std::string_view head = uri.substr(0, at);
    uri.remove_prefix(head.size());
    return std::string(head);
  };
  if (const size_t hash = uri.find('#'); hash != uri.npos) {
    parts.fragment = uri.substr(hash);
    uri = uri.substr(0, hash);
  }
  if (const size_t mark = uri.find('?'); mark != uri.npos) {
    parts.query = uri.substr(mark);
    uri = uri.substr(0, mark);
  }
  const size_t colon = uri.find(':');
  if (colon != uri.npos && colon > 0 && std::isalpha(static_cast<unsigned char>(uri[0])) &&
      uri.substr(0, colon).find('/') == uri.npos)
    parts.scheme = cut(colon + 1);
  if (uri.starts_with("//")) parts.authority = cut(uri.find('/', 2));
  parts.path = uri;
  return parts;
}

std::string without_dots(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const size_t end = path.find('/', 1);
    const std::string_view segment = path.substr(0, end);
    const bool last = end == path.npos;
    if (segment == "/." || segment == "." || segment == "/.." || segment == "..") {
      if (segment.ends_with("..")) out.erase(out.rfind('/') == out.npos ? 0 : out.rfind('/'));
      if (last) out += '/';
    } else {
      out += segment;
    }
    if (last) break;
    path.remove_prefix(end);
  }
  return out;
}

std::string joined(const Parts& parts) {
  return parts.scheme + parts.authority + parts.path + parts.query + parts.fragment;
}

}  // namespace

std::string resolve_uri(std::string_view base_text, std::string_view reference_text) {
  Parts base = split(base_text), reference = split(reference_text);
  if (!reference.scheme.empty()) {
    reference.path = without_dots(reference.path);
    return joined(reference);
  }
  reference.scheme = base.scheme;
  if (!reference.authority.empty()) return joined(reference);
  reference.authority = base.authority;
  if (reference.path.empty()) {
    reference.path = base.path;
    if (reference.query.empty()) reference.query = base.query;
  } else if (reference.path[0] == '/') {
    reference.path = without_dots(reference.path);
  } else {
    const size_t slash = base.path.rfind('/');
    std::string folder = slash == base.path.npos ? "" : base.path.substr(0, slash + 1);
    if (folder.empty() && !base.authority.empty()) folder = "/";
    reference.path = without_dots(folder + reference.path);
  }
  return joined(reference);
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 1] + 2, value, 16).ptr == &text[i + 1] + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace hearth::grammar
