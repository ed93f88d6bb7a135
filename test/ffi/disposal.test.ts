import { expect, test } from "bun:test";
import { Device, type TamiasError } from "../../ffi/index.ts";

const disposed = expect.objectContaining({ code: "disposed" } satisfies Partial<TamiasError>);

function open(): Promise<Device> {
  return Device.open({ backend: "cpu", threads: 1 });
}

test("a closed device refuses every use, and closing it twice is harmless", async () => {
  const device = await open();
  device[Symbol.dispose]();
  device[Symbol.dispose]();
  expect(() => device.handle).toThrow(disposed);
  expect(() => device.info()).toThrow(disposed);
  expect(() => device.allocate(10)).toThrow(disposed);
  expect(() => device.tensor("f32", [10])).toThrow(disposed);
  expect(() => device.createStream()).toThrow(disposed);
  expect(() => device.createEvent()).toThrow(disposed);
});

test("a disposed stream refuses every use", async () => {
  using device = await open();
  using tensor = device.tensor("f32", [4]);
  using event = device.createEvent();
  const stream = device.createStream();
  stream[Symbol.dispose]();
  stream[Symbol.dispose]();
  expect(() => stream.handle).toThrow(disposed);
  expect(() => stream.synchronize()).toThrow(disposed);
  expect(() => stream.queue("tamias_fill", 1, tensor)).toThrow(disposed);
  expect(() => stream.write(tensor, new Float32Array(4))).toThrow(disposed);
  expect(() => stream.read(tensor, new Float32Array(4))).toThrow(disposed);
  expect(() => event.record(stream)).toThrow(disposed);
  expect(() => event.holdBack(stream)).toThrow(disposed);
  await expect(stream.finished()).rejects.toThrow(disposed);
});

test("a disposed event refuses every use", async () => {
  using device = await open();
  using stream = device.createStream();
  using other = device.createEvent();
  const event = device.createEvent();
  event.record(stream);
  event[Symbol.dispose]();
  event[Symbol.dispose]();
  expect(() => event.handle).toThrow(disposed);
  expect(() => event.isReached).toThrow(disposed);
  expect(() => event.record(stream)).toThrow(disposed);
  expect(() => event.holdBack(stream)).toThrow(disposed);
  expect(() => event.secondsUntil(other)).toThrow(disposed);
  expect(() => other.secondsUntil(event)).toThrow(disposed);
});

test("a disposed tensor refuses every use, and so do its views", async () => {
  using device = await open();
  using stream = device.createStream();
  const tensor = device.tensor("f32", [4, 6]);
  const view = tensor.slice(0, 1, 3).permute(1, 0);
  tensor[Symbol.dispose]();
  tensor[Symbol.dispose]();
  for (const dead of [tensor, view]) {
    expect(() => dead.descriptor).toThrow(disposed);
    expect(() => dead.address).toThrow(disposed);
    expect(() => stream.queue("tamias_fill", 1, dead)).toThrow(disposed);
  }
  expect(() => stream.write(tensor, new Float32Array(24))).toThrow(disposed);
  expect(() => stream.read(tensor, new Float32Array(24))).toThrow(disposed);
});

test("disposing a view leaves the tensor alive", async () => {
  using device = await open();
  using stream = device.createStream();
  using tensor = device.tensor("f32", [2, 3]);
  tensor.select(0, 1)[Symbol.dispose]();
  stream.queue("tamias_fill", 2, tensor);
  expect(stream.read(tensor, new Float32Array(6))).toEqual(new Float32Array(6).fill(2));
});

test("handles may be disposed in any order", async () => {
  const device = await open();
  const stream = device.createStream();
  const event = device.createEvent();
  const tensor = device.tensor("f32", [1000]);
  stream.queue("tamias_fill", 1, tensor);
  event.record(stream);
  device[Symbol.dispose]();
  // The device has freed them all: what is left only forgets.
  tensor[Symbol.dispose]();
  expect(() => stream[Symbol.dispose]()).not.toThrow();
  expect(() => event[Symbol.dispose]()).not.toThrow();
});

test("memory may be freed while work on it is queued", async () => {
  using device = await open();
  using stream = device.createStream();
  for (let round = 0; round < 50; round++) {
    using tensor = device.tensor("f32", [200_000]);
    for (let time = 0; time < 5; time++) stream.queue("tamias_fill", time, tensor);
  }
  stream.synchronize();
});

test("freed memory is refused even where its address is in use again", async () => {
  using device = await open();
  using stream = device.createStream();
  const first = device.tensor("f32", [64]);
  const view = first.slice(0, 0, 10);
  first[Symbol.dispose]();
  using second = device.tensor("f32", [64]);
  expect(second.elements).toBe(64);
  expect(() => stream.queue("tamias_fill", 1, view)).toThrow(disposed);
});
