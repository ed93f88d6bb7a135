import { readFileSync } from "node:fs";
import { expect, test } from "bun:test";
import { Device, type DeviceTensor, RemoteStream } from "../../ffi/index.ts";
import { OverlappedMaskWork } from "../../src/delta/mask-work.ts";
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

test("once a job has failed every job fails, as often as it is asked", () =>
  withStreams((main, mask) => {
    using x = main.lasting([4], "f32");
    using work = new OverlappedMaskWork(main, mask);
    const earlier = work.start([], (ops) => ops.fill(x, 1));
    // Told by whatever comes first: another call, or the wait.
    expect(() => work.start([], (ops) => fail(ops, x)).wait()).toThrow(/combine/);
    expect(() => earlier.wait()).toThrow(/combine/);
    expect(() => earlier.wait()).toThrow(/combine/);
    expect(() => work.start([], () => {})).toThrow(/combine/);
  }));

test("inputs of jobs are let go, of those that failed and those after them too", () =>
  withStreams((main, mask) => {
    {
      using work = new OverlappedMaskWork(main, mask);
      const begin = (queue: (ops: Ops) => void) => {
        using input = main.temporary([1 << 16], "f32");
        return work.start([input], queue);
      };
      using x = main.lasting([4], "f32");
      // The failure is told by whatever comes after it.
      expect(() => {
        const failing = begin((ops) => fail(ops, x));
        begin((ops) => ops.fill(x, 1));
        failing.wait();
      }).toThrow(/combine/);
    }
    const held = main.temporaryBytes;
    {
      using first = main.temporary([1 << 16], "f32");
      using second = main.temporary([1 << 16], "f32");
      expect(first.address).not.toBe(second.address);
    }
    expect(main.temporaryBytes).toBe(held);
  }));

test("nothing that was queued after a failed call runs", () =>
  withStreams((main, mask) => {
    using x = main.lasting([4], "f32");
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
