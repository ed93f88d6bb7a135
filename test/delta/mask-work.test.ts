import { readFileSync } from "node:fs";
import { expect, test } from "bun:test";
import { Device, type DeviceTensor, RemoteStream, Stream } from "../../ffi/index.ts";
import { type MaskJob, OverlappedMaskWork } from "../../src/delta/mask-work.ts";
import { Ops } from "../../src/nn/index.ts";
import { deltasOf, runSteps } from "./support/plans.ts";
import { inputsOf, SmallNetwork } from "./support/small-network.ts";

const worker = new URL("../../workers/mask-worker.ts", import.meta.url);

/** Two streams of the CPU, the second one's calls made by a Worker. */
async function withStreams(body: (main: Ops, mask: Ops) => void): Promise<void> {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using main = new Ops(stream);
  using maskStream = await RemoteStream.open(device, worker);
  using mask = new Ops(maskStream);
  body(main, mask);
}

/** A call that its stream refuses. */
function fail(ops: Ops, x: DeviceTensor): void {
  ops.combine(1, x, 1, x.slice(0, 1, 2), x);
}

/** A stream that never knows whether its calls were made, and fails when asked to wait for them. */
class DoubtfulStream extends Stream {
  failure: Error | undefined;

  override hasIssued(): boolean {
    return false;
  }

  override untilIssued(): void {
    if (this.failure) throw this.failure;
  }
}

test("once a job has failed every job fails, as often as it is asked, and all inputs are let go at the end", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using main = new Ops(stream);
  using doubtful = new DoubtfulStream(device, device.createStreamHandle());
  using mask = new Ops(doubtful);
  const jobs: MaskJob[] = [];
  {
    using work = new OverlappedMaskWork(main, mask);
    for (let job = 0; job < 3; job++) {
      using input = main.memory.temporary([1 << 16], "f32");
      jobs.push(work.start([input], () => {}));
    }
    doubtful.failure = new Error("lost");
    for (const job of [...jobs, ...jobs]) expect(() => job.wait()).toThrow("lost");
    expect(() => work.start([], () => {})).toThrow("lost");
  }
  expect(main.memory.bytesInUse).toBe(0);
  const held = main.memory.bytes;
  using again = new DisposableStack();
  for (let job = 0; job < 3; job++) again.use(main.memory.temporary([1 << 16], "f32"));
  expect(main.memory.bytes).toBe(held);
});

test("a job that has been waited for may be asked again", () =>
  withStreams((main, mask) => {
    using x = main.memory.persistent([4], "f32");
    using y = main.memory.persistent([4], "f32");
    using work = new OverlappedMaskWork(main, mask);
    const [first, second] = [x, y].map((out) => work.start([], (ops) => ops.fill(out, 3)));
    first!.wait();
    first!.wait();
    second!.wait();
    expect(main.stream.read(y, new Float32Array(4))[3]).toBe(3);
  }));

test("nothing that was queued after a failed call runs", () =>
  withStreams((main, mask) => {
    using x = main.memory.persistent([4], "f32");
    for (let round = 0; round < 20; round++) {
      mask.fill(x, round);
      expect(() => {
        fail(mask, x);
        const failed = mask.stream.position;
        for (let call = 0; call < 100; call++) mask.fill(x, -1);
        mask.stream.untilIssued(failed);
      }).toThrow(/combine/);
      expect(mask.stream.read(x, new Float32Array(4))[0]).toBe(round);
    }
    // Once it is told, the stream goes on.
    mask.fill(x, 7);
    expect(mask.stream.read(x, new Float32Array(4))[0]).toBe(7);
  }));

test("a stream whose last call failed ends its thread", async () => {
  const threads = () => Number(/Threads:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);
  const failOnce = async () => {
    using device = await Device.open({ backend: "cpu", threads: 1 });
    const stream = await RemoteStream.open(device, worker);
    using x = device.tensor("f32", [4]);
    fail(new Ops(stream), x);
    expect(() => stream[Symbol.dispose]()).toThrow(/combine/);
  };
  await failOnce();
  const before = threads();
  for (let round = 0; round < 6; round++) await failOnce();
  for (let tries = 0; tries < 100 && threads() > before + 3; tries++) await Bun.sleep(20);
  expect(threads()).toBeLessThanOrEqual(before + 3);
});

test("columns that are always chosen are written once unless they are drawn anew", () =>
  withStreams((main, mask) => {
    using network = new SmallNetwork(main, { layers: 1 });
    const inputs = inputsOf(network, 4);
    const writes = (attention: object) => {
      let [all, waits] = [0, 0];
      const write = main.stream.write.bind(main.stream);
      main.stream.write = (tensor, values) => {
        if (tensor.dtype === "u8") all++;
        write(tensor, values);
      };
      mask.stream.write = () => void waits++;
      const plan = deltasOf({ attention }, { from: 0, every: 1 });
      runSteps(network, inputs, plan, { maskOps: mask, textTokens: 32 });
      main.stream.write = write;
      expect(waits).toBe(0);
      return all;
    };
    // The text's keys, and the groups that hold text.
    expect(writes({})).toBe(2);
    expect(writes({ randomDensity: 0.1 })).toBe(2 + inputs.length);
  }));
