import { Device } from "../../../ffi/index.ts";
import { testBackend } from "../support.ts";

/** What many cycles of opening, working and closing leave behind. */
export interface Growth {
  readonly residentBytes: number;
  readonly allocatedBytes: number;
}

/** Opens and closes devices, streams and events over and over. */
export async function growthOfDevices(cycles: number): Promise<Growth> {
  return measured(cycles, async () => {
    using device = await Device.open({ backend: testBackend(), threads: 2 });
    const stream = device.createStream(1 << 20);
    using event = device.createEvent();
    const left = device.tensor("f32", [100_000]);
    stream.queue("tamias_fill", 1, left);
    event.record(stream);
    // Stream and tensor are left to the device to clean up.
    stream.synchronize();
  });
}

/** Allocates and frees memory, with work on it, on one device. */
export async function growthOfMemory(cycles: number): Promise<Growth> {
  using device = await Device.open({ backend: testBackend(), threads: 2 });
  using stream = device.createStream();
  const before = device.info().bytesAllocated;
  const growth = await measured(cycles, () => {
    using tensor = device.tensor("f32", [1_000_000]);
    stream.queue("tamias_fill", 1, tensor);
  });
  return { ...growth, allocatedBytes: device.info().bytesAllocated - before };
}

async function measured(cycles: number, cycle: () => Promise<void> | void): Promise<Growth> {
  const repeat = async (times: number) => {
    for (let time = 0; time < times; time++) await cycle();
    Bun.gc(true);
    return process.memoryUsage.rss();
  };
  const before = await repeat(cycles);
  return { residentBytes: (await repeat(cycles)) - before, allocatedBytes: 0 };
}
