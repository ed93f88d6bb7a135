import { expect, test } from "bun:test";
import { TamiasError, throwIfAborted } from "../../ffi/errors.ts";
import { RequestQueue } from "../../src/pipeline/request-queue.ts";

const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

/** Work of some steps, each in a later turn of the event loop, that counts those which run at the same time. */
function work(log: string[] = [], name = "work", steps = 3) {
  return async function* (signal: AbortSignal): AsyncGenerator<number, void, void> {
    log.push(`${name} begins`);
    try {
      for (let step = 0; step < steps; step++) {
        throwIfAborted(signal);
        await Bun.sleep(0);
        yield step;
      }
    } finally {
      log.push(`${name} ends`);
    }
  };
}

test("requests run one after another, in the order they came", async () => {
  const queue = new RequestQueue();
  const log: string[] = [];
  const names = ["a", "b", "c", "d"];
  await Promise.all(names.map((name) => Array.fromAsync(queue.run(work(log, name)))));
  expect(log).toEqual(names.flatMap((name) => [`${name} begins`, `${name} ends`]));
});

test("an abandoned iterator is ended when another request has waited for it, and is told so", async () => {
  const queue = new RequestQueue(0.05);
  const log: string[] = [];
  const abandoned = queue.run(work(log, "abandoned", 100));
  await abandoned.next();
  const began = performance.now();
  expect(await Array.fromAsync(queue.run(work(log, "next")))).toEqual([0, 1, 2]);
  expect(performance.now() - began).toBeGreaterThan(20);
  expect(log).toEqual(["abandoned begins", "abandoned ends", "next begins", "next ends"]);
  expect(await rejection(abandoned.next())).toMatchObject({
    code: "aborted",
    message: expect.stringContaining("not taken for 0.05 s while another request waited"),
  });
});

test("an iterator that nobody waits for may rest, and one that is read may take its time", async () => {
  const queue = new RequestQueue(0.03);
  const resting = queue.run(work([], "resting"));
  await resting.next();
  await Bun.sleep(100);
  expect(await resting.next()).toMatchObject({ value: 1 });
  await resting.return();
  const slow = queue.run(async function* () {
    await Bun.sleep(150);
    yield "slow";
  });
  const [first, second] = await Promise.all([Array.fromAsync(slow), Array.fromAsync(queue.run(work()))]);
  expect<unknown>(first).toEqual(["slow"]);
  expect(second).toEqual([0, 1, 2]);
});

test("closing ends what runs and what is abandoned, and refuses the rest", async () => {
  for (const isRead of [true, false]) {
    const queue = new RequestQueue();
    const log: string[] = [];
    const first = queue.run(work(log, "first", 1e9));
    await first.next();
    const reading = isRead ? rejection(Array.fromAsync(first)) : undefined;
    const waiting = rejection(Array.fromAsync(queue.run(work(log, "waiting"))));
    await Bun.sleep(5);
    await queue.close();
    expect(log).toEqual(["first begins", "first ends"]);
    expect(await (reading ?? rejection(first.next()))).toMatchObject({
      code: "aborted",
      message: expect.stringContaining("closed"),
    });
    expect(await waiting).toMatchObject({ code: "disposed" });
    expect(await rejection(Array.fromAsync(queue.run(work())))).toMatchObject({ code: "disposed" });
    await queue.close();
  }
});

test("a signal ends a request that waits, one that runs, and neither holds up the next", async () => {
  const queue = new RequestQueue();
  const [running, waiting] = [new AbortController(), new AbortController()];
  const first = rejection(Array.fromAsync(queue.run(work([], "first", 1e9), running.signal)));
  const second = rejection(Array.fromAsync(queue.run(work(), waiting.signal)));
  const third = Array.fromAsync(queue.run(work()));
  waiting.abort();
  expect(await second).toMatchObject({ code: "aborted" });
  running.abort();
  expect(await first).toMatchObject({ code: "aborted", message: "The work was stopped." });
  expect(await third).toEqual([0, 1, 2]);
  expect(await rejection(Array.fromAsync(queue.run(work(), AbortSignal.abort())))).toMatchObject({
    code: "aborted",
  });
});

test("a signal ends an iterator that was left at an event, without another pull", async () => {
  const queue = new RequestQueue();
  const log: string[] = [];
  const stop = new AbortController();
  const left = queue.run(work(log, "left", 1e9), stop.signal);
  await left.next();
  stop.abort();
  expect(await Array.fromAsync(queue.run(work()))).toEqual([0, 1, 2]);
  expect(log).toEqual(["left begins", "left ends"]);
  expect(await rejection(left.next())).toMatchObject({ code: "aborted" });
});

test("requests leave nothing with a signal that outlives them", async () => {
  const queue = new RequestQueue();
  const { signal } = new AbortController();
  let listeners = 0;
  const [add, remove] = [signal.addEventListener, signal.removeEventListener];
  signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add.apply(signal, args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => (
    listeners--,
    remove.apply(signal, args)
  );
  for (let count = 0; count < 10; count++) await Array.fromAsync(queue.run(work(), signal));
  await Promise.all([1, 2, 3].map(() => Array.fromAsync(queue.run(work(), signal))));
  expect(listeners).toBe(0);
});

test("what the work throws comes through, and leaving the loop frees it", async () => {
  const queue = new RequestQueue();
  const failing = queue.run(async function* () {
    yield 1;
    throw new TamiasError("out_of_memory", "There is no room.");
  });
  expect(await rejection(Array.fromAsync(failing))).toMatchObject({ code: "out_of_memory" });
  const log: string[] = [];
  for await (const _ of queue.run(work(log, "left", 1000))) break;
  expect(log).toEqual(["left begins", "left ends"]);
  expect(await Array.fromAsync(queue.run(work()))).toEqual([0, 1, 2]);
});

test("cleaning up after an abandoned iterator that fails is told with it, and frees the turn", async () => {
  const queue = new RequestQueue(0.02);
  const abandoned = queue.run(async function* () {
    try {
      yield 1;
      yield 2;
    } finally {
      await Promise.reject(new Error("The stream cannot be destroyed."));
    }
  });
  await abandoned.next();
  expect(await Array.fromAsync(queue.run(work()))).toEqual([0, 1, 2]);
  expect(await rejection(abandoned.next())).toMatchObject({
    code: "aborted",
    later: ["Error: The stream cannot be destroyed."],
  });
});

test("a reader that leaves gives up its turn although cleaning fails", async () => {
  const requests = new RequestQueue(30);
  async function* failing(): AsyncGenerator<number, void, void> {
    using cleaning = new DisposableStack();
    cleaning.defer(() => {
      throw new Error("a disposer failed");
    });
    yield 1;
  }
  async function* working(): AsyncGenerator<number, void, void> {
    yield 2;
  }
  const left = requests.run(failing);
  await left.next();
  await expect(left.return()).rejects.toThrow("a disposer failed");
  const next = requests.run(working).next();
  expect(await Promise.race([next, Bun.sleep(1000)])).toEqual({ done: false, value: 2 });
});
