import { expect } from "bun:test";
import type { DeviceTensor, Stream } from "../../ffi/index.ts";
import { type Bench, nativeTests } from "./support.ts";

const native = await nativeTests();

/** A GPU multiplies faster than calls can be made unless the matrices are large. */
const gpuFactor = 8;

/** Work that takes a stream a while. */
class Load {
  readonly #matrix: DeviceTensor;
  readonly #input: DeviceTensor;
  readonly #result: DeviceTensor;

  constructor({ device, stream, activationTypes, weightTypes }: Bench, size: number) {
    const side = device.backend === "cuda" ? size * gpuFactor : size;
    this.#matrix = device.tensor(weightTypes[0] ?? "f32", [side, side]);
    this.#input = device.tensor(activationTypes[0] ?? "f32", [side, side]);
    this.#result = device.tensor(activationTypes[0] ?? "f32", [side, side]);
    for (const tensor of [this.#matrix, this.#input]) stream.queue("tamias_fill", 1, tensor);
    stream.synchronize();
  }

  queue(stream: Stream, times: number): void {
    for (let time = 0; time < times; time++)
      stream.queue("tamias_linear", this.#input, this.#matrix, null, 0, 0, this.#result);
  }
}

native.test("a stream that waits for an event sees what another stream did before it", (bench) => {
  using other = bench.device.createStream();
  using event = bench.device.createEvent();
  const load = new Load(bench, 128);
  const size = 10_000;
  const shared = bench.output([size]).tensor;
  const seen = bench.output([size]).tensor;
  for (let round = 1; round <= 20; round++) {
    load.queue(bench.stream, 5);
    bench.call("tamias_fill", round, shared);
    event.record(bench.stream);
    event.holdBack(other);
    other.queue("tamias_copy", shared, seen);
    const values = other.read(seen, new Float32Array(size));
    expect(values.every((value) => value === round)).toBe(true);
  }
});

native.test("waiting for an event holds back the stream, not the program", (bench) => {
  using other = bench.device.createStream();
  using slow = bench.device.createEvent();
  using after = bench.device.createEvent();
  new Load(bench, 512).queue(bench.stream, 40);
  slow.record(bench.stream);
  slow.holdBack(other);
  after.record(other);
  expect(slow.isReached).toBe(false);
  expect(after.isReached).toBe(false);
  other.synchronize();
  expect(slow.isReached).toBe(true);
  expect(after.isReached).toBe(true);
});

native.test("a wait holds to the record it was made for", (bench) => {
  using other = bench.device.createStream();
  using event = bench.device.createEvent();
  using done = bench.device.createEvent();
  event.record(bench.stream);
  event.holdBack(other);
  done.record(other);
  new Load(bench, 512).queue(bench.stream, 40);
  event.record(bench.stream);
  other.synchronize();
  expect(done.isReached).toBe(true);
  expect(event.isReached).toBe(false);
  bench.device.library.call("tamias_event_synchronize", event.handle);
  expect(event.isReached).toBe(true);
});

native.test("an event that was never recorded holds nobody back", (bench) => {
  using event = bench.device.createEvent();
  expect(event.isReached).toBe(true);
  event.holdBack(bench.stream);
  bench.device.library.call("tamias_event_synchronize", event.handle);
  bench.stream.synchronize();
});

native.test("the time between two marks is the time of the work between them", (bench) => {
  using start = bench.device.createEvent();
  using end = bench.device.createEvent();
  const load = new Load(bench, 256);
  const wallStart = performance.now();
  start.record(bench.stream);
  load.queue(bench.stream, 10);
  end.record(bench.stream);
  bench.stream.synchronize();
  const wallSeconds = (performance.now() - wallStart) / 1000;
  const seconds = start.secondsUntil(end);
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThanOrEqual(wallSeconds + 1e-3);
  expect(end.secondsUntil(start)).toBeCloseTo(-seconds, 6);
});

native.test("the time to a mark that was never made, or not reached yet, is an error", (bench) => {
  using start = bench.device.createEvent();
  using end = bench.device.createEvent();
  expect(() => start.secondsUntil(end)).toThrow("event_elapsed");
  start.record(bench.stream);
  new Load(bench, 512).queue(bench.stream, 40);
  end.record(bench.stream);
  expect(() => start.secondsUntil(end)).toThrow("end");
});

native.test("finished() resolves after the work and leaves the event loop running", async (bench) => {
  using event = bench.device.createEvent();
  let ticks = 0;
  const ticker = setInterval(() => ticks++, 1);
  new Load(bench, 512).queue(bench.stream, 40);
  event.record(bench.stream);
  await bench.stream.finished();
  clearInterval(ticker);
  expect(event.isReached).toBe(true);
  expect(ticks).toBeGreaterThan(0);
});

native.test("many streams and events at once do not lose work", (bench) => {
  const size = 1000;
  const sums = Array.from({ length: 6 }, () => {
    const sum = bench.output([size]).tensor;
    const stream = bench.device.createStream();
    stream.queue("tamias_fill", 0, sum);
    return { sum, stream, one: bench.uniform([size], 1, 1).tensor };
  });
  for (let round = 0; round < 50; round++)
    for (const { sum, stream, one } of sums) stream.queue("tamias_combine", 1, sum, 1, one, sum);
  for (const { sum, stream } of sums) {
    expect(stream.read(sum, new Float32Array(size)).every((value) => value === 50)).toBe(true);
    stream[Symbol.dispose]();
  }
});
