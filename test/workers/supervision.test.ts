import { describe, expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { TamiasError } from "../../ffi/errors.ts";
import { ChildProcess } from "../../workers/child-process.ts";
import {
  type AskedDeadlines,
  defaultDeadlines,
  settleDeadlines,
  SilenceLimit,
} from "../../workers/deadlines.ts";
import { type ProcessEvent, ProcessTamias, type StartProcess } from "../../workers/open-in-process.ts";
import { syntheticRun } from "../cli/synthetic-run.ts";

const program = fileURLToPath(new URL("./scripted-process.ts", import.meta.url));
/** Long enough for a process to start on a busy machine. */
const PATIENT = 60;

async function openScripted(
  deadlines: AskedDeadlines = {},
  wrap: (start: StartProcess) => StartProcess = (start) => start,
) {
  const limits = settleDeadlines(deadlines);
  const events: ProcessEvent[] = [];
  const start: StartProcess = (stop) => ChildProcess.start({ model: "scripted" }, { ...stop, program });
  const tamias = await ProcessTamias.open(wrap(start), {
    deadlines: limits,
    onProcess: (event) => events.push(event),
  });
  return {
    tamias,
    events,
    ask: (prompt: string, signal?: AbortSignal) =>
      Array.fromAsync(tamias.generate({ prompt, steps: 3, signal })),
    [Symbol.asyncDispose]: () => tamias.close(),
  };
}

const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const isPicture = expect.objectContaining({ type: "result" });

describe("a device that fails is not asked again", () => {
  test("its process is ended at once, and meanwhile nobody is told that it is ready", async () => {
    await using scripted = await openScripted();
    const { tamias, ask } = scripted;
    const first = tamias.pid;
    expect(tamias.unavailable).toBeUndefined();
    expect(await rejection(ask("the device fails"))).toMatchObject({
      code: "device_failed",
      message: "work queued earlier failed: an illegal address",
      hint: "h",
    });
    expect(tamias.unavailable).toContain("being started again");
    expect((await ask("a picture")).at(-1)).toEqual(isPicture);
    expect(tamias.pid).not.toBe(first);
    expect(tamias.unavailable).toBeUndefined();
    expect(scripted.events).toMatchObject([
      { type: "ended", reason: expect.stringContaining("illegal address") },
      { type: "started", pid: tamias.pid },
    ]);
  });

  test("after two requests in a row without memory, pictures between them notwithstanding", async () => {
    await using scripted = await openScripted();
    const { tamias, ask } = scripted;
    const first = tamias.pid;
    for (const prompt of ["no memory", "a picture", "no memory"]) await rejection(ask(prompt));
    expect(tamias.pid).toBe(first);
    expect(await rejection(ask("no memory"))).toMatchObject({ code: "out_of_memory" });
    expect((await ask("a picture")).at(-1)).toEqual(isPicture);
    expect(tamias.pid).not.toBe(first);
  });

  test("the first error is the one that comes through, what failed after it goes with it", async () => {
    await using scripted = await openScripted();
    expect(await rejection(scripted.ask("cleaning up fails"))).toMatchObject({
      code: "out_of_memory",
      message: "There is no room.",
      later: ["The stream cannot be destroyed."],
    });
  });
});

describe("a device that hangs is ended", () => {
  test.each([
    ["in mid-run, its loop alive", "hang", "device_failed"],
    ["in mid-run, its thread blocked", "block the thread", "device_failed"],
    ["before the first step", "hang at once", "device_failed"],
    ["after its last step", "hang at the end", "device_failed"],
  ])("%s: past its deadline", async (_, prompt, code) => {
    await using scripted = await openScripted({ step: 0.5, aroundSteps: 1, stop: PATIENT });
    const { tamias, ask } = scripted;
    const first = tamias.pid;
    expect(await rejection(ask(prompt))).toMatchObject({
      code,
      message: expect.stringMatching(/did nothing for (0\.5|1) s/),
    });
    expect((await ask("a picture")).at(-1)).toEqual(isPicture);
    expect(tamias.pid).not.toBe(first);
  });

  test.each(["hang", "block the thread", "hang at once"])("when it does not stop: %s", async (prompt) => {
    await using scripted = await openScripted({ stop: 0.5 });
    const { tamias, ask } = scripted;
    const first = tamias.pid;
    const stop = new AbortController();
    const asked = rejection(ask(prompt, stop.signal));
    await Bun.sleep(300);
    const aborted = performance.now();
    stop.abort();
    expect(await asked).toMatchObject({ code: "aborted" });
    expect(performance.now() - aborted).toBeLessThan(20_000);
    expect((await ask("a picture")).at(-1)).toEqual(isPicture);
    expect(tamias.pid).not.toBe(first);
  });

  test("when it does not become free after its picture", async () => {
    await using scripted = await openScripted({ stop: 0.5 });
    const first = scripted.tamias.pid;
    expect(await rejection(scripted.ask("hang after the picture"))).toMatchObject({ code: "device_failed" });
    expect((await scripted.ask("a picture")).at(-1)).toEqual(isPicture);
    expect(scripted.tamias.pid).not.toBe(first);
  });

  test("when its reader left the loop and it does not stop", async () => {
    await using scripted = await openScripted({ stop: 0.5 });
    const { tamias, ask } = scripted;
    const first = tamias.pid;
    for await (const event of tamias.generate({ prompt: "hang", steps: 3 })) if (event.type === "step") break;
    expect((await ask("a picture")).at(-1)).toEqual(isPicture);
    expect(tamias.pid).not.toBe(first);
  });

  test("when it hangs between two requests, which costs neither", async () => {
    await using scripted = await openScripted({ stop: 1 });
    const first = scripted.tamias.pid!;
    process.kill(first, "SIGSTOP");
    expect((await scripted.ask("a picture")).at(-1)).toEqual(isPicture);
    expect(scripted.tamias.pid).not.toBe(first);
  });

  test("closing does not wait for it", async () => {
    const { tamias, ask } = await openScripted();
    const pid = tamias.pid!;
    const asked = rejection(ask("block the thread"));
    await Bun.sleep(300);
    await tamias.close();
    expect(await asked).toMatchObject({ code: "aborted" });
    expect(() => process.kill(pid, 0)).toThrow();
  });

  test("when it has closed and does not leave", async () => {
    const { signal } = new AbortController();
    const child = await ChildProcess.start({ model: "blocks when closed" }, { signal, program });
    await child.stop();
    expect(() => process.kill(child.pid, 0)).toThrow();
  });

  test("while it opens the model", async () => {
    const deadlines = { ...defaultDeadlines, load: 0.5 };
    const { signal } = new AbortController();
    const opening = ChildProcess.start({ model: "never opens" }, { signal, deadlines, program });
    expect(await rejection(opening)).toMatchObject({
      code: "device_lost",
      message: "The model was not open after 0.5 s.",
    });
  });
});

test("a start that hangs is given up much sooner than the first could have been", async () => {
  let starts = 0;
  await using scripted = await openScripted(
    { step: 1 },
    (start) => async (stop) =>
      ++starts === 2 ? ChildProcess.start({ model: "never opens" }, { ...stop, program }) : start(stop),
  );
  process.kill(scripted.tamias.pid!, "SIGKILL");
  expect((await scripted.ask("a picture")).at(-1)).toEqual(isPicture);
  expect(starts).toBe(3);
});

test("a step may take twenty times as long as the longest before it; around the steps there is more time", () => {
  const limit = new SilenceLimit({ ...defaultDeadlines, step: 10, aroundSteps: 500 });
  const { start, steps, result } = syntheticRun({ steps: 3, layers: 1, grid: [2, 2] });
  const seen = [start, ...steps, result].map((event, at) => {
    limit.see(event.type === "step" ? { ...event, seconds: [0, 0.1, 2, 0.1][at]! } : event);
    return limit.seconds;
  });
  // The picture is there: all that is left is to clean up.
  expect(seen).toEqual([500, 10, 40, 500, 30]);
});

test("the back-off begins anew once a request has its picture, also for a reader who leaves with it", async () => {
  await using scripted = await openScripted();
  const { tamias, events } = scripted;
  for (let round = 0; round < 5; round++) {
    for await (const event of tamias.generate({ prompt: "a picture", steps: 2 }))
      if (event.type === "result") break;
    const ended = events.length;
    process.kill(tamias.pid!, "SIGKILL");
    while (events.length < ended + 2) await Bun.sleep(10);
  }
  const ends = events.filter(({ type }) => type === "ended");
  expect(ends.map((event) => "backoffSeconds" in event && event.backoffSeconds)).toEqual([
    0.1, 0.1, 0.1, 0.1, 0.1,
  ]);
});

test("a process that dies on every request is started at ever longer intervals", async () => {
  await using scripted = await openScripted();
  for (let round = 0; round < 3; round++)
    expect(await rejection(scripted.ask("die"))).toMatchObject({ code: "device_lost" });
  expect(scripted.events).toMatchObject([
    { type: "ended", backoffSeconds: 0.1, reason: expect.stringContaining("exit code 3") },
    { type: "started" },
    { type: "ended", backoffSeconds: 0.2 },
    { type: "started" },
    { type: "ended", backoffSeconds: 0.4 },
  ]);
});

test("a process that cannot be started is told to who waits, and is tried again without being asked", async () => {
  let starts = 0;
  await using scripted = await openScripted({}, (start) => async (stop) => {
    starts++;
    if (starts > 1 && starts < 7) throw new TamiasError("bad_weights", "The folder is empty.");
    return start(stop);
  });
  const { tamias, ask } = scripted;
  process.kill(tamias.pid!, "SIGKILL");
  const told = "The process for the device cannot be started: The folder is empty.";
  expect(await rejection(ask("a picture"))).toMatchObject({ code: "device_lost", message: told });
  expect(starts).toBe(6);
  expect(tamias.unavailable).toBe(told);
  while (tamias.unavailable !== undefined) await Bun.sleep(50);
  expect((await ask("a picture")).at(-1)).toEqual(isPicture);
  expect(tamias.restarts).toBe(1);
});

test("an abandoned iterator ends when another request has waited for it; closing does not wait", async () => {
  const { tamias, ask } = await openScripted({ untaken: 0.3 });
  const first = tamias.pid;
  const abandoned = tamias.generate({ prompt: "a picture", steps: 50 });
  await abandoned.next();
  expect((await ask("a picture")).at(-1)).toEqual(isPicture);
  expect(await rejection(abandoned.next())).toMatchObject({
    code: "aborted",
    message: expect.stringContaining("not taken"),
  });
  const another = tamias.generate({ prompt: "a picture", steps: 50 });
  await another.next();
  expect(tamias.pid).toBe(first);
  await tamias.close();
  expect(await rejection(another.next())).toMatchObject({ code: "aborted" });
  expect(await rejection(ask("a picture"))).toMatchObject({ code: "disposed" });
  expect(tamias.unavailable).toContain("closed");
});

test("closing while it is being started again leaves no process", async () => {
  const { tamias, ask } = await openScripted();
  process.kill(tamias.pid!, "SIGKILL");
  const asked = rejection(ask("hang"));
  await Bun.sleep(150);
  await tamias.close();
  expect(await asked).toBeInstanceOf(TamiasError);
  expect(tamias.pid).toBeUndefined();
  const children = await Bun.file(`/proc/self/task/${process.pid}/children`).text();
  expect(children.trim()).toBe("");
});

test("events that nobody takes are not made far ahead", async () => {
  await using scripted = await openScripted();
  const { tamias } = scripted;
  const events = tamias.generate({ prompt: "a picture", steps: 900 });
  await events.next();
  await Bun.sleep(300);
  await events.next();
  expect(tamias.deviceBytes).toBeLessThan(12);
  let count = 2;
  for await (const event of events) {
    expect(event.type).not.toBe("start");
    count++;
  }
  expect(count).toBe(902);
});
