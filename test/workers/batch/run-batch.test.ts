import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { truncate } from "node:fs/promises";
import { join } from "node:path";
import type { BatchJob } from "../../../workers/batch/job.ts";
import { type BatchOptions, runBatch } from "../../../workers/batch/run-batch.ts";
import { makeTinyModel } from "../../support/tiny-model.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { childrenOf, drain, failure, manifest, manyJobs, pictures, seen, startProgram } from "./support.ts";

const JOBS = 50;
const jobs = manyJobs(JOBS);

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let common: Omit<BatchOptions, "jobs" | "out">;
/** The pictures of a run that nothing disturbed, by id. */
let undisturbed: Map<string, string>;
let nextOut = 0;
const freshOut = () => join(folder.path, `out-${nextOut++}`);

beforeAll(async () => {
  folder = await temporaryFolder();
  common = { model: await makeTinyModel(folder.path), device: "cpu", threads: 1 };
  const out = freshOut();
  await drain(runBatch({ ...common, jobs, out }));
  undisturbed = await pictures(out);
});
afterAll(() => folder[Symbol.asyncDispose]());

async function writeJobs(lines: readonly (BatchJob | string)[]): Promise<string> {
  const path = join(folder.path, `jobs-${nextOut++}.jsonl`);
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  await Bun.write(path, `${text.join("\n")}\n`);
  return path;
}

function startBatch(path: string, out: string, ...more: string[]) {
  const args = ["batch", path, "--out", out, "--model", common.model!, "--device", "cpu", "--threads", "1"];
  return startProgram(...args, ...more);
}

/**
 * The most bytes a process has held. Its own resource usage would not do: that begins with what this one holds, of which
 * it was forked.
 */
async function mostMemory(run: { readonly pid: number; readonly exitCode: number | null }): Promise<number> {
  let most = 0;
  while (run.exitCode === null) {
    const status = await Bun.file(`/proc/${run.pid}/status`)
      .text()
      .catch(() => "");
    most = Math.max(most, 1024 * Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0));
    await Bun.sleep(5);
  }
  return most;
}

test("order and number of workers change nothing", async () => {
  const out = freshOut();
  const events = await drain(runBatch({ ...common, jobs: jobs.toReversed(), out, workers: 2 }));
  expect(events[0]).toMatchObject({ type: "start", pictures: JOBS, done: 0, workers: 2 });
  expect(events.at(-1)).toMatchObject({ type: "end", done: JOBS, failed: 0, invalid: 0, left: 0 });
  expect(await pictures(out)).toEqual(undisturbed);
});

test("jobs that leave id and seed out can be repeated, and n makes several", async () => {
  const several: BatchJob[] = [
    { prompt: "a red fox", size: 16, steps: 1, n: 3 },
    { prompt: "a red fox", size: 16, steps: 1 },
    { prompt: "a red fox", size: 16, steps: 1 },
  ];
  const [first, second] = [freshOut(), freshOut()];
  for (const out of [first, second]) await drain(runBatch({ ...common, jobs: several, out }));
  const made = await pictures(first);
  expect(made.size).toBe(5);
  expect(new Set(made.values()).size).toBe(5);
  expect(await pictures(second)).toEqual(made);
});

describe("nothing is lost and nothing doubled", () => {
  test("when processes are killed in mid-job", async () => {
    const out = freshOut();
    let kills = 0;
    let retries = 0;
    for await (const event of runBatch({ ...common, jobs, out, workers: 2 })) {
      if (event.type === "retry") retries++;
      if (event.type !== "step" || event.step !== 3 || kills >= 3 || event.done < kills * 10) continue;
      const [victim] = await childrenOf(process.pid);
      if (victim === undefined) continue;
      process.kill(victim, "SIGKILL");
      kills++;
    }
    expect(kills).toBe(3);
    expect(retries).toBeGreaterThan(0);
    expect(await pictures(out)).toEqual(undisturbed);
    expect(await childrenOf(process.pid)).toEqual([]);
  });

  test("when processes freeze in mid-job", async () => {
    const out = freshOut();
    const deadlines = { load: 20, aroundSteps: 5, step: 3, stop: 2 };
    let frozen = 0;
    for await (const event of runBatch({ ...common, jobs, out, workers: 2, deadlines })) {
      if (event.type !== "step" || event.step !== 3 || frozen >= 2 || event.done < frozen * 10) continue;
      const [victim] = await childrenOf(process.pid);
      if (victim === undefined) continue;
      process.kill(victim, "SIGSTOP");
      frozen++;
    }
    expect(frozen).toBe(2);
    expect(await pictures(out)).toEqual(undisturbed);
    expect(await childrenOf(process.pid)).toEqual([]);
  });

  test("when the whole run is killed, twice, and goes on", async () => {
    const [path, out] = [await writeJobs(jobs), freshOut()];
    for (const [until, ...more] of [["7/50"], ["25/50", "--resume"]] as const) {
      const run = startBatch(path, out, "--workers", "2", ...more);
      await seen(run.stderr, until);
      run.kill("SIGKILL");
      await run.exited;
    }
    const last = startBatch(path, out, "--workers", "2", "--resume", "--json");
    expect(await last.exited).toBe(0);
    expect(JSON.parse(await last.stdout.text())).toMatchObject({ done: JOBS, failed: 0, invalid: 0 });
    expect(await pictures(out)).toEqual(undisturbed);
  });

  test("when Ctrl-C stops it within a step", async () => {
    const long = manyJobs(20, 20);
    const [path, out] = [await writeJobs(long), freshOut()];
    const run = startBatch(path, out, "--workers", "2");
    await seen(run.stderr, "4/20");
    run.kill("SIGINT");
    expect(await run.exited).toBe(130);
    const before = await pictures(out);
    expect(before.size).toBeLessThan(long.length);
    const events = await drain(runBatch({ ...common, jobs: path, out, resume: true, workers: 2 }));
    expect(events[0]).toMatchObject({ type: "start", done: before.size });
    expect((await pictures(out)).size).toBe(long.length);
  });
});

describe("going on", () => {
  test("is asked for, makes lost files again, takes new jobs in, and redoes nothing", async () => {
    const out = freshOut();
    await drain(runBatch({ ...common, jobs: jobs.slice(0, 3), out }));
    expect(await failure(drain(runBatch({ ...common, jobs, out })))).toMatchObject({ code: "bad_input" });
    await Bun.file(join(out, "job-1.png")).delete();
    const events = await drain(runBatch({ ...common, jobs: jobs.slice(0, 4), out, resume: true }));
    const made = events.flatMap((event) => (event.type === "done" ? [event.record.id] : []));
    expect(made.toSorted()).toEqual(["job-1", "job-3"]);
    expect((await pictures(out)).size).toBe(4);
  });

  test("a picture that is there does not change its settings", async () => {
    const out = freshOut();
    await drain(runBatch({ ...common, jobs: jobs.slice(0, 1), out }));
    const changed = [{ ...jobs[0]!, steps: 9 }];
    const [first] = await drain(runBatch({ ...common, jobs: changed, out, resume: true }));
    expect(first).toMatchObject({ type: "invalid", line: 1, error: { code: "bad_input" } });
  });

  test("two runs cannot share a folder", async () => {
    const out = freshOut();
    const running = runBatch({ ...common, jobs, out });
    await running.next();
    expect(await failure(drain(runBatch({ ...common, jobs, out, resume: true })))).toMatchObject({
      code: "bad_input",
      message: expect.stringContaining("Another run"),
    });
    await running.return();
  });
});

describe("a bad jobs file gets a clear message", () => {
  const good = JSON.stringify({ id: "good", prompt: "a fox", size: 16, steps: 1 });
  const bad: [string, string, RegExp][] = [
    ["that is not JSON", "{prompt: fox}", /This is not JSON/],
    ["that is no object", "[1]", /A job is a JSON object/],
    ["with unknown keys", '{"prompt": "a fox", "stepps": 3}', /"stepps"/],
    ["with a wrong type", '{"prompt": "a fox", "steps": "3"}', /^steps: /],
    ["without a prompt", '{"seed": 1}', /^prompt: /],
    ["with size and width", '{"prompt": "a fox", "size": 16, "width": 16}', /^size: /],
    ["with an id that is no file's name", '{"id": "../x", "prompt": "a fox"}', /^id: /],
    ["with an id that is taken", good, /"good" is already taken by line 1/],
    ["with a model that is missing", '{"prompt": "a fox", "model": "no-such"}', /no model "no-such"/],
    ["with an unknown policy", '{"prompt": "a fox", "policy": "quick"}', /no policy "quick"/],
    ["that is too long", `{"prompt": "${"x".repeat(2 ** 20)}"}`, /longer than 1 MiB/],
  ];

  test("which tells of each bad line and does not stop the others", async () => {
    const lines = bad.map(([, line]) => line);
    const [path, out] = [await writeJobs([good, "", ...lines]), freshOut()];
    const events = await drain(runBatch({ ...common, jobs: path, out }));
    const told = events.filter((event) => event.type === "invalid");
    expect(told.map(({ line }) => line)).toEqual(bad.map((_, index) => index + 3));
    for (const [index, [, , message]] of bad.entries()) expect(told[index]!.error.message).toMatch(message);
    expect(events.at(-1)).toMatchObject({ done: 1, invalid: bad.length });
    expect((await manifest(out)).map(({ status }) => status)).toEqual([
      "done",
      ...bad.map(() => "invalid" as const),
    ]);
  });

  test.each(bad)("a line %s, at which strict stops before any work", async (_, line) => {
    const out = freshOut();
    const jobsFile = await writeJobs([good, "", line]);
    expect(await failure(drain(runBatch({ ...common, jobs: jobsFile, out, strict: true })))).toMatchObject({
      name: "TamiasError",
      message: expect.stringContaining("line 3: "),
    });
  });

  test("bytes that are no text", async () => {
    const path = join(folder.path, "bytes.jsonl");
    await Bun.write(path, new Uint8Array([0xff, 0xfe, 10]));
    const [first] = await drain(runBatch({ ...common, jobs: path, out: freshOut() }));
    expect(first).toMatchObject({ type: "invalid", error: { message: expect.stringContaining("UTF-8") } });
  });

  test("an empty file, and one that is not there", async () => {
    const path = await writeJobs(["", "  "]);
    expect(await failure(drain(runBatch({ ...common, jobs: path, out: freshOut() })))).toMatchObject({
      code: "bad_input",
      message: expect.stringContaining("holds no job"),
    });
    expect(await failure(drain(runBatch({ ...common, jobs: "none.jsonl", out: freshOut() })))).toMatchObject({
      code: "not_found",
    });
  });

  test("a line of 1 GB is not read into memory", async () => {
    const path = join(folder.path, "long.jsonl");
    await Bun.write(path, "");
    await truncate(path, 2 ** 30);
    const run = startBatch(path, freshOut());
    const memory = await mostMemory(run);
    expect(await run.exited).toBe(1);
    expect(await run.stderr.text()).toContain("line 1: This line is longer than 1 MiB");
    expect(memory).toBeGreaterThan(0);
    expect(memory).toBeLessThan(400 * 2 ** 20);
  });

  test("strict stops at the first picture that fails", async () => {
    const odd: BatchJob[] = [{ prompt: "a fox", size: 17, steps: 1 }, ...jobs];
    const out = freshOut();
    expect(await failure(drain(runBatch({ ...common, jobs: odd, out, strict: true })))).toMatchObject({
      code: "bad_input",
    });
    expect(await manifest(out)).toMatchObject([{ status: "failed", line: 1 }]);
  });

  test("options out of range", async () => {
    for (const wrong of [
      { workers: -1 },
      { workers: 0 },
      { threads: 0.5 },
      { deadlines: { step: -1 } },
      { device: "tpu" },
      { folder: "x" },
    ])
      expect(
        await failure(drain(runBatch({ ...common, jobs, out: freshOut(), ...(wrong as object) }))),
      ).toMatchObject({ code: "bad_input" });
  });
});
