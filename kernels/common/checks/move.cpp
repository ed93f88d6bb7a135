#include "move.h"

namespace tamias {

CopyArguments::CopyArguments(const Op& op, const tamias_tensor* in_tensor, const tamias_tensor* out_tensor) {
  in = op.input_anywhere("in", in_tensor, kAnyType);
  out = op.output_anywhere("out", out_tensor, kAnyType);
  op.same_shape(out, in);
  op.apart(out, {in});
  if (in.dtype != out.dtype && !((type_bit(in.dtype) & kFloating) && (type_bit(out.dtype) & kFloating))) {
    refuse("in is %s and out is %s: only floating dtypes are converted", dtype_name(in.dtype), dtype_name(out.dtype));
  }
}

FillArguments::FillArguments(const Op& op, const tamias_tensor* out_tensor)
    : out(op.output("out", out_tensor, kAnyType)) {}

GatherArguments::GatherArguments(const Op& op, const tamias_tensor* table_tensor, const tamias_tensor* index_tensor,
                                 const tamias_tensor* out_tensor) {
  table = op.input("table", table_tensor, kWeights, 2, 3);
  indices = op.input("indices", index_tensor, kI32, 1, 1);
  out = op.output("out", out_tensor, kWeights, 2, 3);
  const int64_t n = indices.size(0);
  const int64_t d = table.size(-1);
  if (table.rank == 2) {
    op.shape(out, {n, d});
  } else {
    op.shape(out, {table.size(0), n, d});
  }
  op.rows(table);
  op.rows(out);
  op.apart(out, {table, indices});
  if (!out.empty() && table.size(-2) == 0) {
    refuse("table has shape %s, expected at least one row", table.shape_text().c_str());
  }
}

LoadArguments::LoadArguments(const Op& op, const char* path, uint64_t offset, int32_t file_dtype,
                             const tamias_tensor* out_tensor)
    : file_dtype(file_dtype), offset(offset) {
  constexpr Types kConverted = kF32 | type_bit(TAMIAS_BF16) | type_bit(TAMIAS_F16);
  out = op.output_anywhere("out", out_tensor, kAnyType);
  op.contiguous(out);
  if (!path) refuse("path is NULL");
  const size_t file_size = dtype_size(file_dtype);
  if (file_size == 0) refuse("file_dtype is %d, which does not exist", file_dtype);
  if (file_dtype != out.dtype && !(type_bit(out.dtype) & kConverted)) {
    refuse("out is %s, but the file holds %s, which converts to F32, BF16 or F16 only", dtype_name(out.dtype),
           dtype_name(file_dtype));
  }
  file = std::make_shared<const File>(path);
  const uint64_t bytes = static_cast<uint64_t>(out.elements()) * file_size;
  if (offset > file->bytes() || bytes > file->bytes() - offset) {
    fail(TAMIAS_IO, "'%s' has %llu bytes, but %llu bytes at offset %llu are wanted", path,
         (unsigned long long)file->bytes(), (unsigned long long)bytes, (unsigned long long)offset);
  }
}

}  // namespace tamias
