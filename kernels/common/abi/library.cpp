#include <algorithm>
#include <cstring>

#include "../failure.h"

using namespace tamias;

extern "C" int32_t tamias_abi_version(void) { return TAMIAS_ABI_VERSION; }

extern "C" int32_t tamias_last_error(char* text, uint64_t capacity) {
  // The sentence itself must survive a wrong call of the function that reads it.
  if (!text || capacity == 0) return TAMIAS_INVALID_ARGUMENT;
  const char* sentence = last_error();
  const uint64_t length = std::min<uint64_t>(std::strlen(sentence), capacity - 1);
  std::memcpy(text, sentence, length);
  text[length] = '\0';
  return TAMIAS_OK;
}
