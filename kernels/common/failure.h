// How a call fails: throw a Failure anywhere below the ABI, and `guarded` turns it into a status and a sentence.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "tamias.h"

namespace tamias {

struct Failure {
  int32_t status;
  std::string sentence;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(int32_t status, const char* format, ...);

// For the commonest kind: a wrong argument.
[[noreturn]] __attribute__((format(printf, 1, 2))) void refuse(const char* format, ...);

__attribute__((format(printf, 1, 2))) std::string text(const char* format, ...);

// The sentence of this thread's last error.
const char* last_error() noexcept;

namespace detail {
// Called inside a catch block: records "<function>: <sentence>" for this thread and gives the status.
int32_t status_of_current_exception(const char* function) noexcept;
}  // namespace detail

// The body of every ABI function: no exception leaves it.
template <class Body>
int32_t guarded(const char* function, Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return TAMIAS_OK;
  } catch (...) {
    return detail::status_of_current_exception(function);
  }
}

}  // namespace tamias
