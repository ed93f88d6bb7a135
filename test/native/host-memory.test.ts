import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { memoryGroup } from "../support/memory-group.ts";

const folder = mkdtempSync(join(tmpdir(), "tamias-host-memory-"));
afterAll(() => rmSync(folder, { recursive: true }));

const MiB = 1 << 20;
const common = fileURLToPath(new URL("../../kernels/common", import.meta.url));

/** A program that prints what the library would say on the machine whose files lie in a folder. */
function buildReader(): string {
  const [source, program] = [join(folder, "reader.cpp"), join(folder, "reader")];
  writeFileSync(
    source,
    `#include <cstdio>
     #include "host_memory.h"
     int main(int, char** words) {
       const tamias::HostMemory memory = tamias::host_memory(words[1]);
       std::printf("%llu %llu", (unsigned long long)memory.total, (unsigned long long)memory.available);
     }`,
  );
  const files = ["host_memory.cpp", "memory_groups.cpp", "number_files.cpp"].map((name) =>
    join(common, name),
  );
  const build = Bun.spawnSync(["g++", "-std=c++20", `-I${common}`, source, ...files, "-o", program]);
  expect(build.exitCode, build.stderr.toString()).toBe(0);
  return program;
}

let reader: string | undefined;
let machines = 0;

/** Total and available bytes, in MiB, of a machine of 16 GiB with 8 free and these files besides. */
function memoryOf(files: Readonly<Record<string, string>>): [number, number] {
  reader ??= buildReader();
  const root = join(folder, `machine-${machines++}`);
  const all = {
    "proc/meminfo": "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n",
    ...files,
  };
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const run = Bun.spawnSync([reader, root]);
  const [total = NaN, available = NaN] = run.stdout.toString().split(" ").map(Number);
  return [total / MiB, available / MiB];
}

const unified = {
  "proc/self/mountinfo":
    "22 1 0:20 / /proc rw - proc proc rw\n30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
  "proc/self/cgroup": "0::/user.slice/app.scope\n",
};
const app = "sys/fs/cgroup/user.slice/app.scope";

const versioned = {
  "proc/self/mountinfo":
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
    "35 31 0:32 / /sys/fs/cgroup/memory rw master:2 - cgroup cgroup rw,memory\n" +
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
  "proc/self/cgroup": "4:memory:/jobs/one\n2:cpu,cpuacct:/\n0::/\n",
};

test("without control groups it is the machine's memory", () => {
  expect(memoryOf({})).toEqual([16384, 8192]);
});

test("groups without a limit change nothing", () => {
  expect(memoryOf({ ...unified, [`${app}/memory.max`]: "max\n" })).toEqual([16384, 8192]);
  const none = { "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": "9223372036854771712\n" };
  expect(memoryOf({ ...versioned, ...none })).toEqual([16384, 8192]);
});

test("a group's limit, less what it uses and could not drop", () => {
  const files = {
    [`${app}/memory.max`]: `${4096 * MiB}\n`,
    [`${app}/memory.current`]: `${3000 * MiB}\n`,
    [`${app}/memory.stat`]: `anon 5\ninactive_file_like 7\ninactive_file ${900 * MiB}\nactive_file ${100 * MiB}\n`,
  };
  expect(memoryOf({ ...unified, ...files })).toEqual([4096, 2096]);
});

test("a group that uses more than its limit leaves nothing", () => {
  const files = {
    [`${app}/memory.max`]: `${4096 * MiB}\n`,
    [`${app}/memory.current`]: `${5000 * MiB}\n`,
  };
  expect(memoryOf({ ...unified, ...files })).toEqual([4096, 0]);
});

test("the smallest of a group and those around it", () => {
  const files = {
    [`${app}/memory.max`]: `${4096 * MiB}\n`,
    [`${app}/memory.current`]: `${100 * MiB}\n`,
    "sys/fs/cgroup/user.slice/memory.max": `${6144 * MiB}\n`,
    "sys/fs/cgroup/user.slice/memory.current": `${6000 * MiB}\n`,
    "sys/fs/cgroup/user.slice/other.scope/memory.max": "1\n",
  };
  expect(memoryOf({ ...unified, ...files })).toEqual([4096, 144]);
});

test("the first version's groups, nested", () => {
  const files = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": `${2048 * MiB}\n`,
    "sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": `${1024 * MiB}\n`,
    "sys/fs/cgroup/memory/jobs/memory.stat": `inactive_file 3\ntotal_inactive_file ${20 * MiB}\nactive_file 5\ntotal_active_file ${4 * MiB}\n`,
    "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": `${3072 * MiB}\n`,
    "sys/fs/cgroup/memory/jobs/one/memory.usage_in_bytes": `${512 * MiB}\n`,
  };
  expect(memoryOf({ ...versioned, ...files })).toEqual([2048, 1048]);
});

test("a container that sees its own group as the top", () => {
  const limited = { "sys/fs/cgroup/memory.max": `${512 * MiB}\n`, "sys/fs/cgroup/memory.current": "0\n" };
  const mount = (top: string) => `30 23 0:27 ${top} /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n`;
  for (const [top, group] of [
    ["/", "/"],
    ["/docker/abc", "/docker/abc"],
    ["/", "/../other"],
    ["/docker/abc", "/docker/abcdef"],
  ] as const) {
    const files = { "proc/self/mountinfo": mount(top), "proc/self/cgroup": `0::${group}\n`, ...limited };
    expect(memoryOf(files), `${group} below ${top}`).toEqual([512, 512]);
  }
});

const LIMIT = 1024 * MiB;
const group = memoryGroup(LIMIT);
if ("reason" in group) console.warn(`A process in a control group is not tested: ${group.reason}`);
else afterAll(() => group[Symbol.dispose]());

test.skipIf("reason" in group)(
  "a process in a group is told before it would be ended, also of memory that it never touched",
  async () => {
    if ("reason" in group) return;
    const child = fileURLToPath(new URL("support/fill-memory.ts", import.meta.url));
    const run = group.spawn([process.execPath, child]);
    const [output, log] = await Promise.all([run.stdout.text(), run.stderr.text(), run.exited]);
    expect({ signal: run.signalCode, code: run.exitCode }, log).toEqual({ signal: null, code: 0 });
    const { total, allocated, code } = JSON.parse(output) as Record<string, unknown>;
    expect(total).toBe(LIMIT);
    expect(code).toBe("out_of_memory");
    expect(allocated).toBeGreaterThan(LIMIT / 4);
    expect(allocated).toBeLessThan(LIMIT);
  },
  60_000,
);
