// Neighbouring elements, moved as one.
#pragma once

#include <cstdint>

namespace tamias {

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

template <int kCount, class T>
__device__ __forceinline__ Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}

template <int kCount, class T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

template <int kCount, class T>
bool aligned_for_packs(const T* data) {
  return reinterpret_cast<uintptr_t>(data) % (sizeof(T) * kCount) == 0;
}

}  // namespace tamias
