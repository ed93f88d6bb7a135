// Numbers in the small text files by which the kernel says what it knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tamias {

// The number after `key` in a file of "key number" lines; of a file that is one number where the key is empty. Nothing
// where the file, the key or a number is missing.
std::optional<uint64_t> number_in_file(const std::string& path, const std::string& key = "");

}  // namespace tamias
