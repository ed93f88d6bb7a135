import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  resultSubject,
  type TaskMessage,
  TASKS_STREAM,
  WORKERS_CONSUMER,
} from "../../../workers/batch/nats/messages.ts";
import { serveQueue } from "../../../workers/batch/nats/queue-worker.ts";
import { QueueServer } from "../../../workers/batch/nats/server.ts";
import { type BatchOptions, runBatch } from "../../../workers/batch/run-batch.ts";
import { NatsServer, noNatsServer } from "../../support/nats-server.ts";
import { makeTinyModel } from "../../support/tiny-model.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { drain, failure, manyJobs, pictures, seen, startProgram } from "./support.ts";

if (noNatsServer) console.error(noNatsServer);

const JOBS = 50;
const jobs = manyJobs(JOBS);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: NatsServer;
let common: Omit<BatchOptions, "jobs" | "out">;
/** The pictures of a run on this machine alone, by id. */
let undisturbed: Map<string, string>;
let nextOut = 0;
const freshOut = () => join(folder.path, `out-${nextOut++}`);
const startWorker = () => startProgram("worker", "--queue", server.url, "--device", "cpu");

beforeAll(async () => {
  folder = await temporaryFolder();
  common = { model: await makeTinyModel(folder.path), device: "cpu", threads: 1 };
  if (noNatsServer) return;
  server = await NatsServer.start();
  const out = freshOut();
  await drain(runBatch({ ...common, jobs, out }));
  undisturbed = await pictures(out);
  // Lost workers are noticed sooner than in earnest.
  await using queue = await QueueServer.open({ url: server.url, ackWaitMilliseconds: 2000 });
  expect(queue.ackWaitMilliseconds).toBe(2000);
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describe.skipIf(noNatsServer !== undefined)("a queue on a NATS server", () => {
  test("has the batch's own workers make the same pictures, telling steps and previews", async () => {
    const out = freshOut();
    const some = jobs.slice(0, 5);
    const events = await drain(
      runBatch({ ...common, jobs: some, out, queue: server.url, workers: 1, previewEvery: 4 }),
    );
    const made = await pictures(out);
    expect(made.size).toBe(5);
    for (const [id, sha256] of made) expect(sha256).toBe(undisturbed.get(id)!);
    const previews = events.filter((event) => event.type === "preview");
    expect(previews.length).toBeGreaterThan(0);
    expect(Buffer.from(previews[0]!.png.subarray(1, 4)).toString()).toBe("PNG");
    expect(events.some((event) => event.type === "step")).toBe(true);
  });

  test("loses and doubles nothing when a worker and the server are killed", async () => {
    const out = freshOut();
    const workers = [startWorker(), startWorker()];
    await Promise.all(workers.map((worker) => seen(worker.stderr, "at work")));
    let hasLostWorker = false;
    let hasLostServer = false;
    for await (const event of runBatch({ ...common, jobs, out, queue: server.url })) {
      if (event.type !== "step" || event.step !== 3) continue;
      if (event.done >= 5 && !hasLostWorker) {
        hasLostWorker = true;
        workers[0]!.kill("SIGKILL");
      }
      if (event.done >= 15 && !hasLostServer) {
        hasLostServer = true;
        await server.kill();
        await Bun.sleep(300);
        await server.start();
      }
    }
    expect([hasLostWorker, hasLostServer]).toEqual([true, true]);
    expect(await pictures(out)).toEqual(undisturbed);
    workers[1]!.kill("SIGTERM");
    expect(await workers[1]!.exited).toBe(0);
  });

  test("goes on after the batch was killed, and after it was stopped", async () => {
    const out = freshOut();
    const path = join(folder.path, "jobs.jsonl");
    await Bun.write(path, jobs.map((job) => `${JSON.stringify(job)}\n`).join(""));
    const worker = startWorker();
    const args = [
      ["batch", path, "--out", out, "--queue", server.url],
      ["--model", common.model!, "--device", "cpu", "--threads", "1"],
    ].flat();
    for (const [until, how, ...more] of [
      ["5/50", "SIGKILL"],
      ["15/50", "SIGINT", "--resume"],
    ] as const) {
      const batch = startProgram(...args, ...more);
      await seen(batch.stderr, until);
      batch.kill(how);
      expect(await batch.exited).toBe(how === "SIGINT" ? 130 : 137);
    }
    const last = startProgram(...args, "--resume", "--json");
    expect(await last.exited).toBe(0);
    expect(JSON.parse(await last.stdout.text())).toMatchObject({ done: JOBS, failed: 0, invalid: 0 });
    expect(await pictures(out)).toEqual(undisturbed);
    worker.kill("SIGTERM");
    await worker.exited;
  });

  test("counts a task as failed whose picture never comes into the store", async () => {
    // A worker that says it is done, and is not.
    await using queue = await QueueServer.open({ url: server.url });
    const fraud = (async () => {
      const tasks = await queue.jetstream.consumers.get(TASKS_STREAM, WORKERS_CONSUMER);
      for (;;) {
        const message = await tasks.next({ expires: 1000 });
        if (!message) continue;
        const { batch, task } = message.json<TaskMessage>();
        const made = { status: "done", id: task.id, line: task.line, file: `${task.id}.png`, sha256: "00" };
        await queue.jetstream.publish(resultSubject(batch), JSON.stringify(made));
        message.ack();
        return;
      }
    })();
    const events = await drain(
      runBatch({ ...common, jobs: jobs.slice(0, 1), out: freshOut(), queue: server.url }),
    );
    await fraud;
    expect(events.find(({ type }) => type === "failed")).toMatchObject({
      record: {
        error: { code: "io", message: "The picture is not in the queue's store: it is missing." },
      },
    });
    expect(events.at(-1)).toMatchObject({ type: "end", done: 0, failed: 1 });
  });

  test("is given up when its server stays away, with a warning first", async () => {
    const own = await NatsServer.start();
    const warnings: string[] = [];
    const queue = await QueueServer.open({
      url: own.url,
      patienceSeconds: 7,
      onWarning: (message) => warnings.push(message),
    });
    const { signal } = new AbortController();
    expect(
      await failure(queue.retry("Nothing", signal, () => queue.manager.streams.info("NONE"))),
    ).toMatchObject({
      code: "io",
      message: expect.stringContaining("stream not found"),
    });
    await own.kill();
    expect(await failure(serveQueue(queue, { device: "cpu" }, { workers: 1, signal }))).toMatchObject({
      code: "io",
      message: expect.stringContaining("Tasks cannot be asked for: the queue has been away"),
    });
    expect(warnings.length).toBeGreaterThan(0);
    await queue[Symbol.asyncDispose]();
    await own[Symbol.asyncDispose]();
  });

  test("tells of a task that fails", async () => {
    const out = freshOut();
    const events = await drain(
      runBatch({
        ...common,
        jobs: [{ id: "odd", prompt: "a fox", size: 17, steps: 1 }],
        out,
        queue: server.url,
        workers: 1,
      }),
    );
    expect(events.at(-1)).toMatchObject({ type: "end", done: 0, failed: 1 });
  });
});

test("an address that is none, and a server that is not there, are clear errors", async () => {
  const ask = (queue: string) => failure(drain(runBatch({ ...common, jobs, out: freshOut(), queue })));
  expect(await ask("localhost")).toMatchObject({ code: "bad_input" });
  expect(await ask("http://localhost")).toMatchObject({ code: "bad_input" });
  expect(await ask("nats://127.0.0.1:9")).toMatchObject({ code: "io" });
});
