import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { DESCRIPTOR_BYTES } from "../../ffi/tensor.ts";
import { Descriptor } from "./abuse/descriptor.ts";
import type { Growth } from "./abuse/growth.ts";
import { oddArgument } from "./abuse/mutations.ts";
import type { AbuseReport } from "./abuse/wrong-calls.ts";
import { nativeTests, Random, testSeed } from "./support.ts";

const native = await nativeTests();
const child = fileURLToPath(new URL("abuse/child.ts", import.meta.url));

/** What a child process reports. A crash fails with the last call that it announced. */
async function report<Report>(kind: string, rounds: number, seed = testSeed()): Promise<Report> {
  const run = Bun.spawn([process.execPath, child, kind, String(seed), String(rounds)], {
    stdout: "pipe",
    stderr: "pipe",
    timeout: 60_000,
  });
  const [output, log] = await Promise.all([run.stdout.text(), run.stderr.text()]);
  await run.exited;
  const last = log.trimEnd().split("\n").slice(-3).join("\n");
  expect(
    { signal: run.signalCode, code: run.exitCode },
    `TAMIAS_TEST_SEED=${seed}; the child's last words:\n${last}`,
  ).toEqual({ signal: null, code: 0 });
  return JSON.parse(output) as Report;
}

// Besides a seed of the day, two with which odd addresses once fell into guards that touched a tensor.
for (const seed of [2, 4_245_686_357, testSeed()])
  native.test(
    `thousands of wrong calls are each refused in a sentence, and nothing crashes (${seed})`,
    async () => {
      const { calls, complaints } = await report<AbuseReport>("calls", 200, seed);
      expect(complaints.slice(0, 20)).toEqual([]);
      expect(calls).toBeGreaterThan(10_000);
    },
  );

test("odd addresses keep out of guards that touch a tensor, and reach everything else near it", () => {
  const address = 1n << 40n;
  const tensor = new Descriptor(new Uint8Array(DESCRIPTOR_BYTES));
  tensor.data = address;
  tensor.rank = 1;
  const isGuarded = (at: bigint) => at < address;
  const world = { deadHandles: [], foreignAddresses: [], isGuarded };
  const random = new Random(testSeed(), "odd addresses");
  const original = { value: tensor, type: "tensor", wrong: [] } as const;
  const found = Array.from({ length: 5000 }, () => oddArgument(original, [tensor], world, random).value);
  const addresses = found.map((value) => (value as Descriptor).data);
  expect(addresses.filter(isGuarded)).toEqual([]);
  expect(addresses.some((at) => at > address)).toBe(true);
});

native.test("masks full of garbage do not read or write out of bounds", async () => {
  const { calls, complaints } = await report<AbuseReport>("masks", 300);
  expect(complaints.slice(0, 20)).toEqual([]);
  expect(calls).toBe(1500);
});

native.test("opening and closing leaves nothing behind", async () => {
  const { residentBytes } = await report<Growth>("devices", 1000);
  expect(residentBytes).toBeLessThan(8 << 20);
});

native.test("allocating and freeing leaves nothing behind", async () => {
  const { residentBytes, allocatedBytes } = await report<Growth>("memory", 200);
  expect(allocatedBytes).toBe(0);
  expect(residentBytes).toBeLessThan(8 << 20);
});

native.test("a process may end while work is queued", async () => {
  for (let time = 0; time < 3; time++) await report("exit", 0);
});
