import { expect } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { BatchEvent } from "../../../workers/batch/events.ts";
import type { BatchJob } from "../../../workers/batch/job.ts";
import type { BatchRecord, DoneRecord } from "../../../workers/batch/record.ts";

export const program = join(import.meta.dir, "../../../src/cli/main.ts");

/** Small jobs of the tiny model. */
export function manyJobs(count: number, steps = 8): BatchJob[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `job-${index}`,
    prompt: ["a red fox", "a green owl", "a blue apple on red"][index % 3]!,
    size: 32,
    steps,
    policy: index % 2 === 0 ? "balanced" : "exact",
  }));
}

export async function drain(events: AsyncIterable<BatchEvent>): Promise<BatchEvent[]> {
  return Array.fromAsync(events);
}

export async function manifest(out: string): Promise<BatchRecord[]> {
  const text = await Bun.file(join(out, "manifest.jsonl")).text();
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as BatchRecord);
}

/** What the manifest says of each id, after checking it against the files: each once, nothing else beside them. */
export async function pictures(out: string): Promise<Map<string, string>> {
  const records = (await manifest(out)).filter((record): record is DoneRecord => record.status === "done");
  const found = new Map(records.map(({ id, sha256 }) => [id, sha256]));
  expect(found.size).toBe(records.length);
  for (const { file, sha256 } of records) {
    const bytes = await Bun.file(join(out, file)).bytes();
    expect(new Bun.CryptoHasher("sha256").update(bytes).digest("hex")).toBe(sha256);
  }
  const files = ["manifest.jsonl", "queue.sqlite", ...records.map(({ file }) => file)];
  expect((await readdir(out)).toSorted()).toEqual(files.toSorted());
  return found;
}

export function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Direct children of a process. */
export async function childrenOf(pid: number): Promise<number[]> {
  const text = await Bun.file(`/proc/${pid}/task/${pid}/children`).text();
  return text.trim().split(" ").filter(Boolean).map(Number);
}

/** Starts the command line in a process of its own. */
export function startProgram(...args: string[]) {
  return Bun.spawn([process.execPath, program, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

/** Waits until a program has said something. */
export async function seen(stream: ReadableStream<Uint8Array<ArrayBuffer>>, text: string): Promise<void> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let all = ""; !all.includes(text);) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The program ended without saying ${text}: ${all}`);
    all += value;
  }
  reader.releaseLock();
}
