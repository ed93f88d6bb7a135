import { expect, test } from "bun:test";
import { Device, TamiasError } from "../../ffi/index.ts";
import { Ops } from "../../src/nn/index.ts";
import { withOps } from "../models/with-ops.ts";

const MEGABYTE = 2 ** 20;

test("a temporary's memory is handed out again at once, unless it is held", () =>
  withOps(({ memory }) => {
    const first = memory.temporary([64]);
    const { address } = first;
    const release = memory.hold(first);
    first[Symbol.dispose]();
    expect(() => first.address).toThrow("freed");
    {
      using second = memory.temporary([64]);
      expect(second.address).not.toBe(address);
    }
    release();
    using third = memory.temporary([64]);
    expect(third.address).toBe(address);
  }));

test("a persistent tensor's memory is handed out again only when all streams are done with it", () =>
  withOps((ops) => {
    const { memory, stream } = ops;
    using other = stream.device.createStream();
    const MANY = 2 * MEGABYTE;
    const first = memory.persistent([MANY / 4], "f32");
    using result = memory.own([MANY / 4], "f32");
    using sum = memory.own([MANY / 4], "f32");
    for (let round = 0; round < 30; round++) other.queue("tamias_fill", round, first);
    other.queue("tamias_copy", first, result);
    const { address } = first;
    first[Symbol.dispose]();
    // There is no room but the old tensor's: it is waited for.
    using second = memory.persistent([MANY / 4], "f32");
    expect(second.address).toBe(address);
    ops.fill(second, -1);
    ops.copy(second, sum);
    stream.synchronize();
    other.synchronize();
    expect(stream.read(result, new Float32Array(MANY / 4)).every((value) => value === 29)).toBe(true);
    expect(stream.read(sum, new Float32Array(MANY / 4)).every((value) => value === -1)).toBe(true);
  }));

test("trim gives back what no tensor uses", () =>
  withOps(({ memory, stream }) => {
    const before = stream.device.info().bytesAllocated;
    {
      using temporary = memory.temporary([40 * MEGABYTE], "u8");
      using persistent = memory.persistent([40 * MEGABYTE], "u8");
      memory.trim();
      expect(memory.bytesInUse).toBe(temporary.bytes + persistent.bytes);
      expect(memory.bytes).toBe(80 * MEGABYTE);
    }
    expect(memory.bytesInUse).toBe(0);
    expect(memory.bytes).toBe(80 * MEGABYTE);
    memory.trim();
    expect(memory.bytes).toBe(0);
    expect(stream.device.info().bytesAllocated).toBe(before);
  }));

test("a device without memory left is given back what its pools can spare, once, before an allocation fails", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using one = device.createStream();
  using two = device.createStream();
  using ops = new Ops(one);
  using side = new Ops(two);
  ops.memory.temporary([4 * MEGABYTE], "u8")[Symbol.dispose]();
  side.memory.temporary([6 * MEGABYTE], "u8")[Symbol.dispose]();
  side.memory.persistent([8 * MEGABYTE], "u8")[Symbol.dispose]();
  const free = device.info().bytesFree;
  const impossible = 2 ** 45;
  expect(() => device.allocate(impossible)).toThrow(TamiasError);
  expect(free).toBeLessThan(impossible);
  expect(device.info().bytesAllocated).toBe(0);

  let failures = 1;
  let asked = 0;
  using handlers = new DisposableStack();
  handlers.use(device.onShortage(() => void asked++));
  device.orAfterShortage(() => {
    if (failures-- > 0) throw new TamiasError("out_of_memory", "full");
  });
  expect(asked).toBe(1);
  failures = 2;
  const attempt = () =>
    device.orAfterShortage(() => {
      if (failures-- > 0) throw new TamiasError("out_of_memory", "still full");
    });
  expect(attempt).toThrow("still full");
  expect(asked).toBe(2);
});

test("other errors are not taken for a lack of memory", async () => {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  let asked = 0;
  using handlers = new DisposableStack();
  handlers.use(device.onShortage(() => void asked++));
  expect(() => device.allocate(0)).toThrow("bytes");
  expect(asked).toBe(0);
});
