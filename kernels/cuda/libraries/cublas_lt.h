// The part of cuBLASLt that is used, declared here because its headers need not be installed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "shared_library.h"

namespace tamias {
namespace cublas_lt {

enum Operation : int32_t { kAsIs = 0, kTransposed = 1 };
enum ComputeType : int32_t { kComputeF32 = 68 };
enum DescriptorAttribute : int32_t { kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum Epilogue : int32_t { kPlain = 1, kBias = 4, kGelu = 32, kGeluBias = 36 };
enum LayoutAttribute : int32_t { kMatrices = 5, kDistance = 6 };
enum PreferenceAttribute : int32_t {
  kMostWorkspace = 1,
  kReductionSchemes = 3,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8
};
// A sum over parts of the depth in a fixed order: the same call gives the same bits.
constexpr uint32_t kReduceInF32 = 2;

struct Algorithm {
  uint64_t data[8];
};

struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int32_t status;
  float waves;
  int32_t reserved[4];
};

using Handle = struct HandleTag*;
using Descriptor = struct DescriptorTag*;
using Layout = struct LayoutTag*;
using Preference = struct PreferenceTag*;

struct Library {
  SharedLibrary file{{"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"},
                     "cuBLAS",
                     "NVIDIA's package libcublas-13-0 (or libcublas-12-x)"};

  template <class... Arguments>
  using Function = Imported<int32_t, Arguments...>;

  Function<Handle*> create{file, "cublasLtCreate"};
  // compute type, scale type
  Function<Descriptor*, int32_t, int32_t> descriptor_create{file, "cublasLtMatmulDescCreate"};
  Function<Descriptor> descriptor_destroy{file, "cublasLtMatmulDescDestroy"};
  // attribute, value, bytes
  Function<Descriptor, int32_t, const void*, size_t> descriptor_set{file, "cublasLtMatmulDescSetAttribute"};
  // type, rows, columns, leading dimension
  Function<Layout*, int32_t, uint64_t, uint64_t, int64_t> layout_create{file, "cublasLtMatrixLayoutCreate"};
  Function<Layout> layout_destroy{file, "cublasLtMatrixLayoutDestroy"};
  Function<Layout, int32_t, const void*, size_t> layout_set{file, "cublasLtMatrixLayoutSetAttribute"};
  Function<Preference*> preference_create{file, "cublasLtMatmulPreferenceCreate"};
  Function<Preference> preference_destroy{file, "cublasLtMatmulPreferenceDestroy"};
  Function<Preference, int32_t, const void*, size_t> preference_set{file, "cublasLtMatmulPreferenceSetAttribute"};
  // layouts of a, b, c, d; how many are wanted, where, and how many were found
  Function<Handle, Descriptor, Layout, Layout, Layout, Layout, Preference, int32_t, Heuristic*, int32_t*> heuristics{
      file, "cublasLtMatmulAlgoGetHeuristic"};
  // alpha, a, b, beta, c, d; the workspace and its bytes
  Function<Handle, Descriptor, const void*, const void*, Layout, const void*, Layout, const void*, const void*, Layout,
           void*, Layout, const Algorithm*, void*, size_t, cudaStream_t>
      multiply{file, "cublasLtMatmul"};
};

const Library& library();                  // fails with TAMIAS_UNSUPPORTED where it is not installed
Handle handle_of(const Device& device);    // one a device, of the process; may be used by all threads
void check(int32_t status, const char* what);

}  // namespace cublas_lt
}  // namespace tamias
