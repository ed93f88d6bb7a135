#include "number_files.h"

#include <fstream>
#include <sstream>

namespace tamias {

std::optional<uint64_t> number_in_file(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string first;
    if (!key.empty() && !(words >> first && first == key)) continue;
    uint64_t number;
    if (words >> number) return number;
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace tamias
