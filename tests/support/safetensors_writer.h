// safetensors files made by hand, so that the reader is tested against the format.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/text_file.h"

namespace hearth::test {

// A header as it stands, whatever it says, in front of the data.
inline std::string safetensors_text(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  std::string text(reinterpret_cast<const char*>(&size), sizeof size);
  return text.append(header).append(data);
}

// Tensors one after the other, as the safetensors library writes them.
class SafetensorsWriter {
 public:
  SafetensorsWriter& add(std::string_view name, std::string_view dtype, std::span<const int64_t> shape,
                         std::string_view bytes) {
    header_ += header_.empty() ? "{" : ",";
    header_.append("\"").append(name).append("\":{\"dtype\":\"").append(dtype).append("\",\"shape\":[");
    for (size_t i = 0; i < shape.size(); ++i) header_.append(i ? "," : "").append(std::to_string(shape[i]));
    header_ += "],\"data_offsets\":[" + std::to_string(data_.size()) + ",";
    data_ += bytes;
    header_ += std::to_string(data_.size()) + "]}";
    return *this;
  }
  std::string text() const {
    std::string header = header_.empty() ? "{}" : header_ + "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return safetensors_text(header, data_);
  }

 private:
  std::string header_, data_;
};

}  // namespace hearth::test
