import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ResultEvent } from "../../src/pipeline/events.ts";
import { open } from "../../src/pipeline/open.ts";
import { openInProcess } from "../../workers/open-in-process.ts";
import { openInWorker } from "../../workers/open-in-worker.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const request = { prompt: "a red fox", width: 64, height: 64, steps: 4, seed: 7 };

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let options: { model: string; device: "cpu"; threads: number };
beforeAll(async () => {
  folder = await temporaryFolder();
  options = { model: await makeTinyModel(folder.path), device: "cpu", threads: 1 };
});
afterAll(() => folder[Symbol.asyncDispose]());

const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
/** A zombie is dead. */
const isAlive = (pid: number) =>
  existsSync(`/proc/${pid}/stat`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
const gone = async (pid: number) => {
  for (let waited = 0; isAlive(pid) && waited < 5000; waited += 20) await Bun.sleep(20);
  return !isAlive(pid);
};

test("a process makes the picture that the same request makes in this one", async () => {
  await using here = await open(options);
  await using there = await openInProcess(options);
  expect([there.model, there.device]).toEqual([here.model, here.device]);
  const ours = (await Array.fromAsync(here.generate(request))).at(-1) as ResultEvent;
  const events = await Array.fromAsync(there.generate({ ...request, previewEvery: 3 }));
  expect(events.map(({ type }) => type).join(" ")).toBe("start step step step preview step result");
  expect((events.at(-1) as ResultEvent).rgb).toEqual(ours.rgb);
});

test("masks beside the denoising, in a process and in a Worker, change nothing", async () => {
  await using here = await open(options);
  const ours = (await Array.fromAsync(here.generate(request))).at(-1) as ResultEvent;
  for (const elsewhere of [openInProcess, openInWorker]) {
    await using there = await elsewhere({ ...options, pipeline: "overlap" });
    const events = await Array.fromAsync(there.generate({ ...request, trace: true }));
    expect((events.at(-1) as ResultEvent).rgb).toEqual(ours.rgb);
    expect(events.at(-2)?.type).toBe("trace");
  }
});

test("a signal stops it within one step, leaving the loop frees it, and it goes on", async () => {
  await using tamias = await openInProcess(options);
  const controller = new AbortController();
  let steps = 0;
  const run = async () => {
    for await (const event of tamias.generate({ ...request, steps: 1000, signal: controller.signal }))
      if (event.type === "step" && ++steps === 2) controller.abort();
  };
  expect(await rejection(run())).toMatchObject({ code: "aborted" });
  expect(steps).toBeLessThan(50);
  for await (const event of tamias.generate({ ...request, steps: 1000 })) if (event.type === "step") break;
  expect((await Array.fromAsync(tamias.generate(request))).at(-1)?.type).toBe("result");
});

test("errors come through as they are, and a closed one says so", async () => {
  expect(await rejection(openInProcess({ model: "no-such-model" }))).toMatchObject({
    code: "not_found",
    name: "TamiasError",
  });
  const tamias = await openInProcess(options);
  const pid = tamias.pid!;
  for (const bad of [{ prompt: "" }, { width: 65 }, { policy: "quick" }])
    expect(await rejection(Array.fromAsync(tamias.generate({ ...request, ...bad })))).toMatchObject({
      name: "TamiasError",
    });
  await tamias.close();
  expect(isAlive(pid)).toBe(false);
  expect(await rejection(Array.fromAsync(tamias.generate(request)))).toMatchObject({ code: "disposed" });
});

describe("a process that dies", () => {
  test("fails the request it works on and is started again for those that wait", async () => {
    await using tamias = await openInProcess(options);
    const before = (await Array.fromAsync(tamias.generate(request))).at(-1) as ResultEvent;
    const first = tamias.pid!;
    const working = async () => {
      for await (const event of tamias.generate({ ...request, steps: 1000 }))
        if (event.type === "step" && event.step === 1) process.kill(first, "SIGKILL");
    };
    const [lost, waited] = await Promise.all([
      rejection(working()),
      Array.fromAsync(tamias.generate(request)),
    ]);
    expect(lost).toMatchObject({ code: "device_lost", message: expect.stringContaining("SIGKILL") });
    expect((waited.at(-1) as ResultEvent).rgb).toEqual(before.rgb);
    expect(tamias.restarts).toBe(1);
    expect(tamias.pid).not.toBe(first);
  });

  test("between two requests costs neither", async () => {
    await using tamias = await openInProcess(options);
    process.kill(tamias.pid!, "SIGKILL");
    expect((await Array.fromAsync(tamias.generate(request))).at(-1)?.type).toBe("result");
  });

  test("while its model is gone tells what is wrong, and comes back when the model does", async () => {
    await using own = await temporaryFolder();
    const model = await makeTinyModel(own.path);
    await using tamias = await openInProcess({ ...options, model });
    const index = join(model, "model_index.json");
    const text = await Bun.file(index).text();
    await Bun.file(index).delete();
    process.kill(tamias.pid!, "SIGKILL");
    expect(await rejection(Array.fromAsync(tamias.generate(request)))).toMatchObject({
      code: "device_lost",
      message: expect.stringContaining("There is no model"),
    });
    await Bun.write(index, text);
    expect((await Array.fromAsync(tamias.generate(request))).at(-1)?.type).toBe("result");
  });

  test("while it loads is started once more", async () => {
    await using tamias = await openInProcess(options);
    process.kill(tamias.pid!, "SIGKILL");
    const asked = Array.fromAsync(tamias.generate(request));
    let loading: number[] = [];
    while (loading.length === 0) {
      await Bun.sleep(5);
      const children = readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").trim().split(" ");
      loading = tamias.pid === undefined ? children.filter(Boolean).map(Number).filter(isAlive) : [];
    }
    process.kill(loading[0]!, "SIGKILL");
    expect((await asked).at(-1)?.type).toBe("result");
    expect(tamias.restarts).toBe(1);
  });

  test("waiting for it can be aborted, and so can closing", async () => {
    const tamias = await openInProcess(options);
    process.kill(tamias.pid!, "SIGKILL");
    const signal = AbortSignal.timeout(1);
    expect(await rejection(Array.fromAsync(tamias.generate({ ...request, signal })))).toMatchObject({
      code: "aborted",
    });
    await tamias.close();
    expect(tamias.pid).toBeUndefined();
  });
});

describe("a process that is frozen in mid-run", () => {
  const freezeAt = async (
    tamias: Awaited<ReturnType<typeof openInProcess>>,
    step: number,
    { signal, onFrozen = () => {} }: { signal?: AbortSignal; onFrozen?: () => void } = {},
  ) => {
    for await (const event of tamias.generate({ ...request, steps: 1000, signal }))
      if (event.type === "step" && event.step === step) {
        process.kill(tamias.pid!, "SIGSTOP");
        onFrozen();
      }
  };

  test("is ended when it does not stop in time, and the next request is served soon", async () => {
    await using tamias = await openInProcess({ ...options, deadlines: { stop: 2 } });
    const frozen = tamias.pid!;
    const stop = new AbortController();
    let aborted = 0;
    const onFrozen = () => {
      aborted = performance.now();
      stop.abort();
    };
    expect(await rejection(freezeAt(tamias, 5, { signal: stop.signal, onFrozen }))).toMatchObject({
      code: "aborted",
    });
    expect(performance.now() - aborted).toBeGreaterThan(1900);
    const cancelled = performance.now();
    expect(tamias.unavailable).toContain("started again");
    expect((await Array.fromAsync(tamias.generate(request))).at(-1)?.type).toBe("result");
    expect(performance.now() - cancelled).toBeLessThan(10_000);
    expect(isAlive(frozen)).toBe(false);
  });

  test("is ended when it is silent past its deadline, without anybody's asking", async () => {
    await using tamias = await openInProcess({ ...options, deadlines: { step: 1 } });
    const frozen = tamias.pid!;
    const waiting = Bun.sleep(200).then(() => Array.fromAsync(tamias.generate(request)));
    expect(await rejection(freezeAt(tamias, 5))).toMatchObject({
      code: "device_failed",
      message: expect.stringContaining("did nothing for"),
    });
    expect((await waiting).at(-1)?.type).toBe("result");
    expect(isAlive(frozen)).toBe(false);
  });

  test("and goes on in time has lost nothing", async () => {
    await using tamias = await openInProcess(options);
    const pid = tamias.pid!;
    const events = tamias.generate(request);
    await events.next();
    process.kill(pid, "SIGSTOP");
    setTimeout(() => process.kill(pid, "SIGCONT"), 300);
    expect((await Array.fromAsync(events)).at(-1)?.type).toBe("result");
    expect(tamias.pid).toBe(pid);
  });
});

test.each(["at work", "frozen"])("no process outlives a program that was killed: one %s", async (state) => {
  const program = Bun.spawn(
    [process.execPath, join(import.meta.dir, "process-owner.ts"), JSON.stringify(options)],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  const { value } = await program.stdout.pipeThrough(new TextDecoderStream()).getReader().read();
  const pid = Number(value);
  expect(isAlive(pid)).toBe(true);
  if (state === "frozen") process.kill(pid, "SIGSTOP");
  program.kill("SIGKILL");
  expect(await gone(pid)).toBe(true);
});

test("200 generations leave the memory of the process where it was", async () => {
  await using tamias = await openInProcess(options);
  const small = { ...request, width: 16, height: 16, steps: 1 };
  const residentBytes = () =>
    Number(readFileSync(`/proc/${tamias.pid}/statm`, "latin1").split(" ")[1]) * 4096;
  const generate = async (times: number) => {
    for (let time = 0; time < times; time++) await Array.fromAsync(tamias.generate(small));
  };
  await generate(100);
  const before = residentBytes();
  await generate(200);
  expect(residentBytes() - before).toBeLessThan(24 * 2 ** 20);
});
