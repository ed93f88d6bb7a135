import { expect } from "bun:test";
import { expectEqual, nativeTests, stored, Values } from "./support.ts";

const native = await nativeTests();

native.test("what is written is read back, at any byte offset and length", ({ device, stream, random }) => {
  const bytes = 5000;
  using memory = device.tensor("u8", [bytes]);
  const mirror = new Uint8Array(bytes);
  stream.write(memory, mirror);
  for (let round = 0; round < 50; round++) {
    const from = random.integer(0, bytes - 1);
    const to = random.integer(from + 1, bytes);
    const values = Uint8Array.from({ length: to - from }, () => random.integer(0, 255));
    stream.write(memory.slice(0, from, to), values);
    mirror.set(values, from);
    // The library has its own copy by now.
    values.fill(0);
  }
  expect(stream.read(memory, new Uint8Array(bytes))).toEqual(mirror);
});

native.test("addresses are multiples of 256", ({ device, random }) => {
  for (let round = 0; round < 20; round++) {
    using memory = device.allocate(random.integer(1, 100_000));
    expect(memory.address % 256).toBe(0);
  }
});

native.test("the device says what it is and how much it has given out", ({ device }) => {
  const before = device.info();
  expect(before.backend).toBe(native.backend);
  expect(before.name).not.toBe("");
  expect(before.threads).toBeGreaterThan(0);
  expect(before.queryGroup).toBeGreaterThan(0);
  expect(before.tokenGroup).toBeGreaterThan(0);
  expect(before.bytesTotal).toBeGreaterThanOrEqual(before.bytesFree);
  expect(before.bytesFree).toBeGreaterThan(0);
  {
    using memory = device.allocate(1_000_000);
    expect(device.info().bytesAllocated).toBe(before.bytesAllocated + memory.bytes);
    using stream = device.createStream(4096);
    expect(stream.device.info().bytesAllocated).toBeGreaterThanOrEqual(before.bytesAllocated + 1_004_096);
  }
  expect(device.info().bytesAllocated).toBe(before.bytesAllocated);
});

native.test("host memory is counted apart", ({ device }) => {
  const before = device.info();
  {
    using memory = device.allocate(300_001, "host");
    expect(memory.address % 256).toBe(0);
    const { bytesAllocated, hostBytesAllocated } = device.info();
    expect(bytesAllocated).toBe(before.bytesAllocated);
    expect(hostBytesAllocated).toBe(before.hostBytesAllocated + memory.bytes);
  }
  expect(device.info().hostBytesAllocated).toBe(before.hostBytesAllocated);
  expect(() => device.allocate(2 ** 50, "host")).toThrow(expect.objectContaining({ code: "out_of_memory" }));
});

native.test(
  "bytes pass from host memory to the device and back, in stream order",
  ({ device, stream, random }) => {
    for (const bytes of [1, 255, 4096, 1_000_003]) {
      using source = device.tensor("u8", [bytes], "host");
      using middle = device.tensor("u8", [bytes]);
      using target = device.tensor("u8", [bytes], "host");
      const values = Uint8Array.from({ length: bytes }, () => random.integer(0, 255));
      stream.write(source, values);
      expect(stream.read(source, new Uint8Array(bytes))).toEqual(values);
      stream.queue("tamias_fill", 7, middle);
      stream.queue("tamias_copy", source, middle);
      stream.write(source, new Uint8Array(bytes));
      stream.queue("tamias_copy", middle, target);
      stream.queue("tamias_fill", 9, middle);
      expect(stream.read(target, new Uint8Array(bytes))).toEqual(values);
      expect(stream.read(source, new Uint8Array(bytes))).toEqual(new Uint8Array(bytes));
    }
  },
);

native.test("copies to, from and within host memory are right whatever the strides and dtypes", (bench) => {
  const { device, stream } = bench;
  const shape = [13, 37];
  const x = bench.normal(shape);
  for (const dtype of ["f32", "bf16"] as const) {
    using host = device.tensor(dtype, [37, 13], "host");
    using other = device.tensor("f32", [37, 13], "host");
    stream.queue("tamias_copy", x.tensor, host.permute(1, 0));
    stream.queue("tamias_copy", host, other);
    const out = bench.output([13, 30], { layout: "strided" });
    stream.queue("tamias_copy", other.permute(1, 0).slice(1, 7, 37), out.tensor);
    const expected = Values.build([13, 30], (row = 0, column = 0) =>
      stored(dtype, x.values.at(row, column + 7)),
    );
    expectEqual(out.read(), expected, `by way of ${dtype}`);
  }
});

native.test("too large an allocation is an error that names the bytes", ({ device }) => {
  const bytes = 2 ** 50;
  expect(() => device.allocate(bytes)).toThrow(expect.objectContaining({ code: "out_of_memory" }));
  expect(() => device.allocate(bytes)).toThrow(String(bytes));
  using memory = device.allocate(1);
  expect(memory.address).toBeGreaterThan(0);
});

native.test("a write waits for the work before it, a read for all of it", (bench) => {
  const size = 4096;
  const source = bench.uniform([size], -1, 1);
  const target = bench.output([size]);
  for (let round = 1; round <= 20; round++) {
    bench.call("tamias_copy", source.tensor, target.tensor);
    bench.stream.write(source.tensor, new Float32Array(size).fill(round));
    bench.call("tamias_combine", 1, target.tensor, 1, source.tensor, target.tensor);
  }
  // The last copy saw 19, the last sum adds 20.
  expectEqual(
    target.read(),
    Values.build([size], () => 39),
    "after 20 rounds",
  );
});

native.test("a workspace can be given up, and comes back when an op asks for it", (bench) => {
  const { device, stream } = bench;
  const before = device.info().bytesAllocated;
  const x = bench.normal([1, 8, 16, 16]);
  const weight = bench.normal([8, 8, 3, 3]);
  const out = bench.output([1, 8, 16, 16]);
  const operands = device.info().bytesAllocated;
  const results = [0, 1, 2].map(() => {
    bench.call("tamias_conv2d", x.tensor, weight.tensor, null, 1, 1, 1, 1, 1, out.tensor);
    const grown = device.info().bytesAllocated;
    expect(grown).toBeGreaterThan(operands);
    stream.reserve(0);
    expect(device.info().bytesAllocated).toBe(operands);
    return out.read();
  });
  expectEqual(results[1]!, results[0]!, "with a new workspace");
  expectEqual(results[2]!, results[0]!, "with another");
  expect(operands).toBeGreaterThan(before);
});

native.test("what is freed goes back to the system, whatever stays beside it", ({ device, stream }) => {
  if (device.backend !== "cpu") return;
  const resident = () => process.memoryUsage().rss;
  const megabytes = 2 ** 20;
  const fill = (bytes: number) => {
    const memory = device.tensor("u8", [bytes]);
    stream.queue("tamias_fill", 1, memory);
    return memory;
  };
  for (const size of [20, 5, 3, 1.25]) {
    const tensors = Array.from({ length: 130 / Math.ceil(size) }, () => fill(size * megabytes));
    stream.synchronize();
    using last = tensors.pop()!;
    expect(last.bytes).toBeGreaterThan(megabytes);
    const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    const full = resident();
    for (const tensor of tensors) tensor[Symbol.dispose]();
    expect(full - resident()).toBeGreaterThan(0.9 * bytes);
  }
});
