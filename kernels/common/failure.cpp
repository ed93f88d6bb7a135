#include "failure.h"

#include <cstdarg>
#include <cstdio>
#include <exception>
#include <new>

namespace tamias {
namespace {

constexpr size_t kSentenceCapacity = 1024;
thread_local char last_sentence[kSentenceCapacity] = "";

std::string format_arguments(const char* format, va_list arguments) {
  char sentence[kSentenceCapacity];
  std::vsnprintf(sentence, sizeof sentence, format, arguments);
  return sentence;
}

}  // namespace

std::string text(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string sentence = format_arguments(format, arguments);
  va_end(arguments);
  return sentence;
}

void fail(int32_t status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string sentence = format_arguments(format, arguments);
  va_end(arguments);
  throw Failure{status, std::move(sentence)};
}

void refuse(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string sentence = format_arguments(format, arguments);
  va_end(arguments);
  throw Failure{TAMIAS_INVALID_ARGUMENT, std::move(sentence)};
}

const char* last_error() noexcept { return last_sentence; }

namespace detail {

int32_t status_of_current_exception(const char* function) noexcept {
  const auto record = [&](const char* sentence) {
    std::snprintf(last_sentence, sizeof last_sentence, "%s: %s", function, sentence);
  };
  try {
    throw;
  } catch (const Failure& failure) {
    record(failure.sentence.c_str());
    return failure.status;
  } catch (const std::bad_alloc&) {
    record("the host is out of memory");
    return TAMIAS_OUT_OF_MEMORY;
  } catch (const std::exception& exception) {
    record(exception.what());
    return TAMIAS_DEVICE;
  } catch (...) {
    record("an unknown failure");
    return TAMIAS_DEVICE;
  }
}

}  // namespace detail
}  // namespace tamias
