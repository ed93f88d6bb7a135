#include "memory_groups.h"

#include <fstream>
#include <optional>
#include <sstream>

#include "number_files.h"

namespace tamias {
namespace {

// What the two versions of the interface call the same.
struct Interface {
  const char* file_system;
  const char* limit;
  const char* used;
  const char* cached[2];  // files in memory, in memory.stat: dropped where memory is wanted
};
constexpr Interface kVersion1 = {
    "cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", {"total_inactive_file", "total_active_file"}};
constexpr Interface kVersion2 = {"cgroup2", "memory.max", "memory.current", {"inactive_file", "active_file"}};

// Whether `words`, separated by commas, have this one.
bool lists(const std::string& words, const std::string& word) {
  return ("," + words + ",").find("," + word + ",") != std::string::npos;
}

// Where a tree of groups can be seen, and which group is its top there.
struct Mount {
  std::string folder, top;
};

// Lines of mountinfo: "36 35 0:31 /top /folder options - cgroup source options", where words before the dash may be more.
std::optional<Mount> find_mount(const std::string& root, const Interface& interface) {
  std::ifstream file(root + "/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream place(line);
    std::istringstream kind(line.substr(dash + 3));
    std::string number, parent, device, source, file_system, options;
    Mount mount;
    place >> number >> parent >> device >> mount.top >> mount.folder;
    kind >> file_system >> source >> options;
    if (file_system != interface.file_system) continue;
    if (&interface == &kVersion1 && !lists(options, "memory")) continue;
    return mount;
  }
  return std::nullopt;
}

// Lines of cgroup: "4:memory:/group" or, of the second version, "0::/group".
std::optional<std::string> find_group(const std::string& root, const Interface& interface) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool own = &interface == &kVersion1 ? lists(controllers, "memory") : controllers.empty();
    if (own) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The group's path below the mount's top; the top where the group lies outside of what is mounted.
std::string below(const std::string& top, const std::string& group) {
  if (group.find("/..") == 0) return "";
  const std::string prefix = top == "/" ? "" : top;
  if (group == prefix || group == "/") return "";
  return group.compare(0, prefix.size() + 1, prefix + "/") == 0 ? group.substr(prefix.size()) : "";
}

void add_groups(const std::string& root, const Interface& interface, std::vector<MemoryGroup>& groups) {
  const auto mount = find_mount(root, interface);
  const auto group = find_group(root, interface);
  if (!mount || !group) return;
  std::string path = below(mount->top, *group);
  for (;;) {
    const std::string folder = root + mount->folder + path + "/";
    if (const auto limit = number_in_file(folder + interface.limit)) {
      const uint64_t used = number_in_file(folder + interface.used).value_or(0);
      uint64_t cached = 0;
      for (const char* key : interface.cached) cached += number_in_file(folder + "memory.stat", key).value_or(0);
      groups.push_back({*limit, used > cached ? used - cached : 0});
    }
    if (path.empty()) return;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

std::vector<MemoryGroup> memory_groups(const std::string& root) {
  std::vector<MemoryGroup> groups;
  add_groups(root, kVersion1, groups);
  add_groups(root, kVersion2, groups);
  return groups;
}

}  // namespace tamias
