#include "packed_mask.h"

#include <algorithm>

namespace tamias {

PackedMask PackedMask::pack(const Op& op, const tamias_tensor* index_tensor, const tamias_tensor* count_tensor,
                            int64_t columns, const tamias_tensor* packed_tensor) {
  if (columns < 0) refuse("columns is %lld, expected 0 or more", (long long)columns);
  const View packed = op.output("packed", packed_tensor, kU8, 4, 4);
  op.contiguous(packed);
  const ColumnMask mask(op, index_tensor, count_tensor, packed.size(0), packed.size(1), packed.size(2), columns, false);
  op.apart(packed, {mask.indices, mask.counts});
  const int64_t most = std::min(mask.capacity, columns);
  const int64_t needed = most + (columns - most) / kSkip;
  if (!mask.counts.empty() && packed.size(3) < needed) {
    refuse("packed has %lld bytes a list, but %lld of %lld columns may take %lld", (long long)packed.size(3),
           (long long)most, (long long)columns, (long long)needed);
  }
  return {mask, packed, packed.size(3)};
}

PackedMask PackedMask::unpack(const Op& op, const tamias_tensor* packed_tensor, const tamias_tensor* count_tensor,
                              const tamias_tensor* index_tensor) {
  const View packed = op.input("packed", packed_tensor, kU8, 4, 4);
  op.contiguous(packed);
  const View indices = op.output("indices", index_tensor, kIndices, 4, 4);
  const int64_t columns = indices.dtype == TAMIAS_U16 ? 65536 : INT32_MAX;
  const ColumnMask mask(op, index_tensor, count_tensor, packed.size(0), packed.size(1), packed.size(2), columns, true);
  op.apart(mask.indices, {packed, mask.counts});
  return {mask, packed, packed.size(3)};
}

}  // namespace tamias
