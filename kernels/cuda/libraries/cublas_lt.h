// The part of cuBLASLt that is used, declared here because its headers need not be installed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace tamias {

class Device;

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
  int32_t (*create)(Handle*);
  int32_t (*descriptor_create)(Descriptor*, int32_t compute_type, int32_t scale_type);
  int32_t (*descriptor_destroy)(Descriptor);
  int32_t (*descriptor_set)(Descriptor, int32_t attribute, const void* value, size_t bytes);
  int32_t (*layout_create)(Layout*, int32_t type, uint64_t rows, uint64_t columns, int64_t leading);
  int32_t (*layout_destroy)(Layout);
  int32_t (*layout_set)(Layout, int32_t attribute, const void* value, size_t bytes);
  int32_t (*preference_create)(Preference*);
  int32_t (*preference_destroy)(Preference);
  int32_t (*preference_set)(Preference, int32_t attribute, const void* value, size_t bytes);
  int32_t (*heuristics)(Handle, Descriptor, Layout a, Layout b, Layout c, Layout d, Preference, int32_t wanted,
                        Heuristic*, int32_t* found);
  int32_t (*multiply)(Handle, Descriptor, const void* alpha, const void* a, Layout, const void* b, Layout,
                      const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace,
                      size_t workspace_bytes, cudaStream_t);
};

const Library& library();                  // fails with TAMIAS_UNSUPPORTED where it is not installed
Handle handle_of(const Device& device);    // one a device, of the process; may be used by all threads
void check(int32_t status, const char* what);

}  // namespace cublas_lt
}  // namespace tamias
