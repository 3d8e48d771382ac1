#include "convert/export/weight_rows.h"

#include <string_view>

namespace hearth {

std::string ExportWeight::module() const {
  constexpr std::string_view kWeight = ".weight";
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

}  // namespace hearth
