// The end of the process while streams still work.
#pragma once

#include <cstdint>

namespace tamias {

void remember_open_device(uint64_t handle);
void forget_open_device(uint64_t handle);

// Called on a stream's thread after each closure.
void note_finished_task();

}  // namespace tamias
