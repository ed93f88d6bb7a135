#include "registry.h"

#include <mutex>
#include <vector>

namespace tamias::registry {
namespace {

constexpr int kSlotBits = 24;
constexpr int kGenerationBits = 26;
constexpr uint64_t kSlotMask = (uint64_t{1} << kSlotBits) - 1;
constexpr uint64_t kGenerationMask = (uint64_t{1} << kGenerationBits) - 1;

struct Slot {
  uint64_t generation = 0;
  HandleKind kind{};
  std::shared_ptr<void> object;
};

struct Slots {
  std::mutex mutex;
  std::vector<Slot> slots;
  std::vector<uint32_t> free;
};

// Never destroyed: handles may be used while other static objects are torn down at exit.
Slots& all() {
  static Slots& slots = *new Slots;
  return slots;
}

Slot* locate(Slots& table, HandleKind kind, uint64_t handle) {
  const uint64_t index = handle & kSlotMask;
  const uint64_t generation = (handle >> kSlotBits) & kGenerationMask;
  const uint64_t handle_kind = handle >> (kSlotBits + kGenerationBits);
  if (handle_kind != static_cast<uint64_t>(kind) || index >= table.slots.size()) return nullptr;
  Slot& slot = table.slots[index];
  return slot.object && slot.kind == kind && slot.generation == generation ? &slot : nullptr;
}

}  // namespace

uint64_t add(HandleKind kind, std::shared_ptr<void> object) {
  Slots& table = all();
  const std::lock_guard lock(table.mutex);
  if (table.free.empty()) {
    if (table.slots.size() > kSlotMask) fail(TAMIAS_OUT_OF_MEMORY, "too many live handles");
    table.free.reserve(table.slots.size() + 1);
    table.slots.emplace_back();
    table.free.push_back(static_cast<uint32_t>(table.slots.size() - 1));
  }
  const uint32_t index = table.free.back();
  table.free.pop_back();
  Slot& slot = table.slots[index];
  slot.kind = kind;
  slot.object = std::move(object);
  return static_cast<uint64_t>(kind) << (kSlotBits + kGenerationBits) | slot.generation << kSlotBits | index;
}

std::shared_ptr<void> find(HandleKind kind, uint64_t handle) {
  Slots& table = all();
  const std::lock_guard lock(table.mutex);
  const Slot* slot = locate(table, kind, handle);
  return slot ? slot->object : nullptr;
}

std::shared_ptr<void> remove(HandleKind kind, uint64_t handle) {
  Slots& table = all();
  const std::lock_guard lock(table.mutex);
  Slot* slot = locate(table, kind, handle);
  if (!slot) return nullptr;
  std::shared_ptr<void> object = std::move(slot->object);
  slot->object.reset();
  slot->generation = (slot->generation + 1) & kGenerationMask;
  table.free.push_back(static_cast<uint32_t>(slot - table.slots.data()));
  return object;
}

}  // namespace tamias::registry
