import { expect, test } from "bun:test";
import { Device, type NativeLibrary } from "../../ffi/index.ts";

type LooseCall = (name: string, ...args: unknown[]) => number;

/** The library's calls without the compiler's checks, as plain JavaScript would make them. */
function loose(library: NativeLibrary): LooseCall {
  return library.call.bind(library) as unknown as LooseCall;
}

const badInput = expect.objectContaining({ code: "bad_input" });

test("arguments that C would turn into something else are refused, by name and place", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using tensor = device.tensor("f32", [4, 4]);
  const call = loose(device.library);
  const wrong = (place: number, name: string, ...args: unknown[]) => {
    expect(() => call(name, ...args), `${name}, argument ${place}`).toThrow(badInput);
    expect(() => call(name, ...args)).toThrow(new RegExp(`${name}.*argument ${place}`));
  };
  for (const value of [NaN, 1.5, 2 ** 31, -(2 ** 31) - 1, "1", null, undefined, 1n, true, {}])
    wrong(2, "tamias_activate", stream.handle, value, tensor, tensor);
  for (const value of [NaN, "1", null, undefined, 1n, {}])
    wrong(2, "tamias_combine", stream.handle, value, tensor, 1, tensor, tensor);
  for (const value of [NaN, 0.5, Infinity, 2 ** 60, "1", null, undefined])
    wrong(3, "tamias_block_means", stream.handle, tensor, value, tensor);
  for (const value of [-1, -1n, NaN, 0.5, "1", null, undefined, 2 ** 60, 2n ** 64n])
    wrong(1, "tamias_stream_synchronize", value);
  for (const value of [null, undefined, 0, {}, new Uint8Array(112), "tensor"])
    wrong(2, "tamias_row_norms", stream.handle, value, tensor);
  for (const value of [undefined, 0, {}, new Uint8Array(112)])
    wrong(3, "tamias_rms_norm", stream.handle, tensor, value, 1e-6, tensor);
  for (const value of [null, undefined, 0, [], new Float32Array(2), new Uint8Array(0), "path"])
    wrong(1, "tamias_device_count", value);
});

test("missing and surplus arguments are refused", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  const call = loose(device.library);
  expect(() => call("tamias_stream_synchronize")).toThrow("takes 1 arguments, got 0");
  expect(() => call("tamias_stream_synchronize", stream.handle, 1)).toThrow("takes 1 arguments, got 2");
});

test("what the library refuses arrives as its own sentence and a stable code", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  using a = device.tensor("f32", [2, 3]);
  using b = device.tensor("f32", [3, 2]);
  const { library } = device;
  expect(() => library.call("tamias_multiply", stream.handle, a, b, a)).toThrow(badInput);
  expect(() => library.call("tamias_multiply", stream.handle, a, b, a)).toThrow("multiply");
  expect(() => device.allocate(2 ** 52)).toThrow(expect.objectContaining({ code: "out_of_memory" }));
  const missing = new TextEncoder().encode("/nowhere/at all\0");
  expect(() => library.call("tamias_tensor_load", stream.handle, missing, 0, 0, a)).toThrow(
    expect.objectContaining({ code: "io", message: expect.stringContaining("/nowhere/at all") }),
  );
});

test("a stream's workspace grows by itself, once", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  const shape = [1, 4, 200, 64];
  using x = device.tensor("f32", shape);
  using out = device.tensor("f32", shape);
  stream.queue("tamias_fill", 0.5, x);
  const attend = () => stream.queue("tamias_attention", x, x, x, null, 0.1, 0, out, null);
  const before = device.info().bytesAllocated;
  attend();
  const grown = device.info().bytesAllocated;
  expect(grown).toBeGreaterThan(before);
  attend();
  expect(device.info().bytesAllocated).toBe(grown);
  const values = stream.read(out, new Float32Array(4 * 200 * 64));
  expect(values.every((value) => Math.abs(value - 0.5) < 1e-5)).toBe(true);
});

test("options of a device are checked", async () => {
  for (const threads of [-1, 0.5, NaN, 5000, Infinity])
    await expect(Device.open({ backend: "cpu", threads })).rejects.toThrow(badInput);
  for (const index of [1, -1, 7]) await expect(Device.open({ backend: "cpu", index })).rejects.toThrow();
  for (const index of [0.5, NaN]) await expect(Device.open({ backend: "cpu", index })).rejects.toThrow();
});
