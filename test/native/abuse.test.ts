import { expect } from "bun:test";
import { fileURLToPath } from "node:url";
import type { Growth } from "./abuse/growth.ts";
import type { AbuseReport } from "./abuse/wrong-calls.ts";
import { nativeTests, testSeed } from "./support.ts";

const native = await nativeTests();
const child = fileURLToPath(new URL("abuse/child.ts", import.meta.url));

/** What a child process reports. A crash fails with the last call that it announced. */
async function report<Report>(kind: string, rounds: number): Promise<Report> {
  const seed = testSeed();
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

native.test("thousands of wrong calls are each refused in a sentence, and nothing crashes", async () => {
  const { calls, complaints } = await report<AbuseReport>("calls", 200);
  expect(complaints.slice(0, 20)).toEqual([]);
  expect(calls).toBeGreaterThan(10_000);
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
