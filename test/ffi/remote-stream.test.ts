import { expect, test } from "bun:test";
import { Device, RemoteStream } from "../../ffi/index.ts";
import { Ops } from "../../src/nn/index.ts";

const worker = new URL("../../workers/mask-worker.ts", import.meta.url);

test("a stream of another thread computes what one of this thread computes, in the order that events give", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using main = device.createStream();
  using side = await RemoteStream.open(device, worker);
  using mainOps = new Ops(main);
  using maskOps = new Ops(side);
  using x = mainOps.memory.persistent([64], "f32");
  using y = mainOps.memory.persistent([64], "f32");
  using ready = device.createEvent();
  using done = device.createEvent();
  // Longer than the ring, so that it wraps and the writer has to wait.
  for (let round = 0; round < 800; round++) {
    main.write(x, new Float32Array(64).fill(round));
    ready.record(main);
    side.waitFor(ready);
    maskOps.combine(2, x, 1, x, y);
    side.mark(done);
    side.untilIssued(side.position);
    main.waitFor(done);
    mainOps.combine(1, y, 1, y, x);
    if (round % 100 === 0) expect(main.read(x, new Float32Array(64))[63]).toBe(6 * round);
  }
  main.synchronize();
  for (let round = 0; round < 2000; round++) maskOps.combine(1, x, 1 / 1024, x, y);
  expect(side.read(y, new Float32Array(64))[0]).toBeCloseTo(6 * 799 * (1 + 1 / 1024), 2);
});

test("what fails on the other thread is told on this one, once", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using side = await RemoteStream.open(device, worker);
  using ops = new Ops(side);
  using x = ops.memory.persistent([4], "f32");
  using y = ops.memory.persistent([5], "f32");
  ops.combine(1, x, 1, y, x);
  expect(() => side.synchronize()).toThrow(/combine/);
  ops.combine(1, x, 1, x, x);
  side.synchronize();
});

test("it records spans as other streams do", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using side = await RemoteStream.open(device, worker);
  using main = device.createStream();
  using ops = new Ops(side);
  using x = ops.memory.persistent([4], "f32");
  using origin = device.createEvent();
  origin.record(main);
  main.synchronize();
  side.recordSpans();
  ops.fill(x, 1);
  ops.combine(1, x, 1, x, x);
  const spans = await side.takeSpans(origin);
  expect(spans.map(({ name }) => name)).toEqual(["tamias_fill", "tamias_combine"]);
  for (const { start, seconds } of spans) {
    expect(start).toBeGreaterThan(0);
    expect(seconds).toBeGreaterThanOrEqual(0);
  }
  ops.fill(x, 1);
  expect(await side.takeSpans(origin)).toEqual([]);
});

test("calls on their way when one fails are left out, and those after it has been told are made", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using side = await RemoteStream.open(device, worker);
  using main = device.createStream();
  using ops = new Ops(side);
  using x = ops.memory.persistent([4], "f32");
  using y = ops.memory.persistent([5], "f32");
  for (let round = 0; round < 200; round++) {
    main.write(x, new Float32Array(4));
    main.synchronize();
    // Each call is told of failures before it; the first that is, ends the loop.
    expect(() => {
      ops.combine(1, x, 1, y, x);
      const failed = side.position;
      for (let after = 0; after < 50; after++) ops.fill(x, 1);
      side.untilIssued(failed);
    }).toThrow(/combine/);
    side.synchronize();
    expect(main.read(x, new Float32Array(4))[0]).toBe(0);
  }
  ops.fill(x, 2);
  expect(side.read(x, new Float32Array(4))[0]).toBe(2);
});

test("disposing a stream whose last call failed says so, and ends its thread", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  const before = device.info().bytesAllocated;
  const threads = async () =>
    (await Array.fromAsync(new Bun.Glob("*").scan({ cwd: "/proc/self/task", onlyFiles: false }))).length;
  const idle = await threads();
  for (let round = 0; round < 8; round++) {
    const side = await RemoteStream.open(device, worker);
    using ops = new Ops(side);
    using x = ops.memory.persistent([4], "f32");
    using y = ops.memory.persistent([5], "f32");
    ops.combine(1, x, 1, y, x);
    expect(() => side[Symbol.dispose]()).toThrow(/combine/);
  }
  for (let waited = 0; (await threads()) > idle + 4 && waited < 10_000; waited += 50) await Bun.sleep(50);
  expect(await threads()).toBeLessThanOrEqual(idle + 4);
  expect(device.info().bytesAllocated).toBe(before);
});
