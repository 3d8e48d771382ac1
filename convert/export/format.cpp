#include "convert/export/format.h"

#include "quant/error.h"

namespace hearth {
namespace {

constexpr ExportFormat kExportFormats[] = {ExportFormat::kBf16, ExportFormat::kFp8, ExportFormat::kInt4};

}  // namespace

const char* export_format_name(ExportFormat format) {
  switch (format) {
    case ExportFormat::kBf16:
      return "bf16";
    case ExportFormat::kFp8:
      return "fp8";
    case ExportFormat::kInt4:
      return "int4";
  }
  return "";
}

std::string export_format_names() {
  std::string names;
  for (const ExportFormat format : kExportFormats) {
    if (!names.empty()) names += ' ';
    names += export_format_name(format);
  }
  return names;
}

ExportFormat find_export_format(std::string_view name) {
  for (const ExportFormat format : kExportFormats) {
    if (name == export_format_name(format)) return format;
  }
  fail(ErrorKind::usage, "unknown format {}: expected one of {}", name, export_format_names());
}

}  // namespace hearth
