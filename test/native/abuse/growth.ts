import { Device } from "../../../ffi/index.ts";
import { testBackend } from "../support.ts";
import { RawLibrary } from "./raw-library.ts";

/** What many cycles leave behind. */
export interface Growth {
  readonly residentBytes: number;
  readonly allocatedBytes: number;
}

/** Opens a device, gives it a stream, an event and memory, and leaves all of them to its closing, over and over. */
export function growthOfDevices(cycles: number): Growth {
  const library = new RawLibrary();
  const made = new Uint8Array(8);
  const handle = () => new DataView(made.buffer).getBigUint64(0, true);
  return measured(cycles, () => {
    library.call("tamias_device_open", [0, 2, made]);
    const device = handle();
    library.call("tamias_stream_create", [device, 1 << 20, made]);
    const stream = handle();
    library.call("tamias_event_create", [device, made]);
    library.call("tamias_event_record", [handle(), stream]);
    library.call("tamias_memory_alloc", [device, 100_000, 0, made]);
    const source = new Uint8Array(100);
    library.call("tamias_memory_write", [stream, handle(), source, source.length]);
    library.call("tamias_device_close", [device]);
  });
}

/** Allocates and frees memory, with work on it, on one device. */
export async function growthOfMemory(cycles: number): Promise<Growth> {
  using device = await Device.open({ backend: testBackend(), threads: 2 });
  using stream = device.createStream();
  const before = device.info().bytesAllocated;
  const { residentBytes } = measured(cycles, () => {
    using tensor = device.tensor("f32", [1_000_000]);
    stream.queue("tamias_fill", 1, tensor);
  });
  return { residentBytes, allocatedBytes: device.info().bytesAllocated - before };
}

/** Resident memory after the cycles, less that after as many before: pools have filled up by then. */
function measured(cycles: number, cycle: () => void): Growth {
  const repeat = () => {
    for (let time = 0; time < cycles; time++) cycle();
    Bun.gc(true);
    return process.memoryUsage.rss();
  };
  const before = repeat();
  return { residentBytes: repeat() - before, allocatedBytes: 0 };
}
