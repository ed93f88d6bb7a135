import { expect, test } from "bun:test";
import { Device, type DeviceTensor, type Stream } from "../../ffi/index.ts";

/** A [3, 4, 5] tensor that counts from 0, so that an element is its own place. */
async function withCounting(
  use: (tensor: DeviceTensor, values: (view: DeviceTensor) => number[]) => void,
): Promise<void> {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using tensor = device.tensor("f32", [3, 4, 5]);
  stream.write(
    tensor,
    Float32Array.from({ length: 60 }, (_, at) => at),
  );
  use(tensor, (view) => valuesOf(device, stream, view));
}

function valuesOf(device: Device, stream: Stream, view: DeviceTensor): number[] {
  using contiguous = device.tensor("f32", view.shape);
  stream.queue("tamias_copy", view, contiguous);
  return [...stream.read(contiguous, new Float32Array(view.elements))];
}

const badInput = expect.objectContaining({ code: "bad_input" });

test("slice takes a range of one dimension", () =>
  withCounting((tensor, values) => {
    const view = tensor.slice(1, 1, 3).slice(2, 4, 5);
    expect(view.shape).toEqual([3, 2, 1]);
    expect(view.isContiguous).toBe(false);
    expect(values(view)).toEqual([9, 14, 29, 34, 49, 54]);
    expect(tensor.slice(0, 1, 1).elements).toBe(0);
    expect(tensor.slice(0, 0, 3).isContiguous).toBe(true);
    expect(tensor.slice(0, 1, 2).isContiguous).toBe(true);
  }));

test("a slice that does not fit is refused", () =>
  withCounting((tensor) => {
    for (const [dimension, start, end] of [
      [0, -1, 2],
      [0, 2, 1],
      [0, 0, 4],
      [0, 0.5, 2],
      [0, NaN, 2],
      [0, 0, NaN],
      [3, 0, 1],
      [-1, 0, 1],
    ] as const)
      expect(() => tensor.slice(dimension, start, end)).toThrow(badInput);
  }));

test("select takes one index and drops the dimension", () =>
  withCounting((tensor, values) => {
    expect(values(tensor.select(0, 2))).toEqual(Array.from({ length: 20 }, (_, at) => 40 + at));
    expect(values(tensor.select(2, 1).select(0, 1))).toEqual([21, 26, 31, 36]);
    expect(tensor.select(1, 3).shape).toEqual([3, 5]);
    expect(tensor.select(0, 1).select(0, 1).select(0, 1).shape).toEqual([1]);
    for (const index of [-1, 4, 0.5, NaN]) expect(() => tensor.select(1, index)).toThrow(badInput);
  }));

test("permute reorders dimensions", () =>
  withCounting((tensor, values) => {
    const view = tensor.permute(2, 0, 1);
    expect(view.shape).toEqual([5, 3, 4]);
    expect(values(view).slice(0, 6)).toEqual([0, 5, 10, 15, 20, 25]);
    expect(view.permute(1, 2, 0).isContiguous).toBe(true);
    for (const order of [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, -1], [0, 1, 2, 3], [0, 1, NaN], []])
      expect(() => tensor.permute(...order)).toThrow(badInput);
  }));

test("reshape splits and merges what is contiguous within itself", () =>
  withCounting((tensor, values) => {
    expect(values(tensor.reshape(60))).toEqual(Array.from({ length: 60 }, (_, at) => at));
    expect(tensor.reshape(6, 10).stride).toEqual([10, 1]);
    expect(tensor.reshape(1, 3, 1, 20, 1).elements).toBe(60);
    const columns = tensor.slice(2, 0, 4);
    expect(values(columns.reshape(12, 2, 2))).toEqual(values(columns));
    expect(columns.reshape(12, 4).stride).toEqual([5, 1]);
    const heads = tensor.reshape(12, 5).slice(1, 0, 4).reshape(3, 4, 2, 2).permute(0, 2, 1, 3);
    expect(heads.shape).toEqual([3, 2, 4, 2]);
    expect(values(heads).slice(0, 4)).toEqual([0, 1, 5, 6]);
  }));

test("a reshape that would need a copy, or another number of elements, is refused", () =>
  withCounting((tensor) => {
    expect(() => tensor.slice(2, 0, 4).reshape(48)).toThrow(badInput);
    expect(() => tensor.permute(2, 0, 1).reshape(60)).toThrow(badInput);
    expect(() => tensor.slice(2, 0, 4).reshape(3, 16)).toThrow(badInput);
    for (const shape of [[61], [7, 8], [], [-60], [-3, -20], [NaN], [1.5, 40], [1, 1, 1, 1, 1, 1, 60]])
      expect(() => tensor.reshape(...shape)).toThrow(badInput);
  }));

test("expand repeats dimensions of size 1 and no others", () =>
  withCounting((tensor, values) => {
    const row = tensor.slice(0, 1, 2).slice(1, 0, 1);
    const view = row.expand(2, 3, 5);
    expect(view.stride.slice(0, 2)).toEqual([0, 0]);
    expect(values(view)).toEqual(Array.from({ length: 30 }, (_, at) => 20 + (at % 5)));
    expect(values(tensor.expand(3, 4, 5))).toEqual(values(tensor));
    for (const shape of [
      [3, 4, 6],
      [6, 4, 5],
      [3, 4],
      [3, 4, 5, 1],
      [2, 4, 5],
      [3, 4, NaN],
    ])
      expect(() => tensor.expand(...shape)).toThrow(badInput);
  }));

test("tensors of no elements have shapes too", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using empty = device.tensor("f32", [3, 0, 2]);
  expect(empty.elements).toBe(0);
  expect(empty.isContiguous).toBe(true);
  expect(empty.reshape(0, 7).shape).toEqual([0, 7]);
  expect(stream.read(empty, new Float32Array(0))).toEqual(new Float32Array(0));
});

test("shapes that are none are refused", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  for (const shape of [[], [1, 1, 1, 1, 1, 1, 1], [-1], [NaN], [1.5], [2, Infinity], [2 ** 53]])
    expect(() => device.tensor("f32", shape), `[${shape.join(", ")}]`).toThrow();
  expect(device.info().bytesAllocated).toBe(0);
});

test("reading and writing need a contiguous tensor of the same number of bytes", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using tensor = device.tensor("bf16", [4, 6]);
  expect(() => stream.write(tensor, new Float32Array(24))).toThrow("48 bytes");
  expect(() => stream.read(tensor, new Uint16Array(23))).toThrow(badInput);
  expect(() => stream.write(tensor.permute(1, 0), new Uint16Array(24))).toThrow("not contiguous");
  const part = new Uint16Array(100).fill(7).subarray(10, 16);
  stream.write(tensor.slice(0, 1, 2), part);
  expect(stream.read(tensor.slice(0, 1, 2), new Uint16Array(6))).toEqual(part.slice());
});
