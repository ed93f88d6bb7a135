import { type Backend, NativeLibrary } from "./library.ts";
import type { NativeArgument, NativeFunction } from "./runtime/adapter.ts";
import { Status, type SymbolName, symbols } from "./symbols.ts";

/** Addresses that no memory has: far above what a process is given. */
const FIRST_ADDRESS = 2 ** 50;
const ALIGNMENT = 256;
/** TAMIAS_HOST_MEMORY */
const HOST = 1;

/** What a counting library was asked to keep, in one place. */
export class ByteCount {
  /** Bytes allocated now, and the most at any time since `restart`. */
  bytes = 0;
  mostBytes = 0;

  add(bytes: number): void {
    this.bytes += bytes;
    this.mostBytes = Math.max(this.mostBytes, this.bytes);
  }

  /** Forgets the most there was. */
  restart(): void {
    this.mostBytes = this.bytes;
  }
}

/** What a counting library was asked to keep. */
export class MemoryCount {
  readonly device = new ByteCount();
  readonly host = new ByteCount();
  readonly #live = new Map<number, { readonly bytes: number; readonly count: ByteCount }>();
  #next = FIRST_ADDRESS;

  allocate(bytes: number, place: number): number {
    const address = this.#next;
    this.#next += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const count = place === HOST ? this.host : this.device;
    this.#live.set(address, { bytes, count });
    count.add(bytes);
    return address;
  }

  free(address: number): void {
    const freed = this.#live.get(address);
    freed?.count.add(-freed.bytes);
    this.#live.delete(address);
  }
}

/**
 * A library that computes nothing, at once: memory it is asked for is counted, everything else is taken and left undone.
 * Programs run on it as they would on the real one, and so tell what they will need.
 * @param info bytes of the `tamias_device_info` of the device it stands for
 */
export function countingLibrary(backend: Backend, info: Uint8Array, count: MemoryCount): NativeLibrary {
  const functions = Object.fromEntries(
    Object.keys(symbols).map((name) => [name, (): number => Status.ok]),
  ) as Record<SymbolName, NativeFunction>;
  let handles = 0n;
  const giveHandle = (out: NativeArgument | undefined): number => write(out, ++handles);
  functions.tamias_device_open = (_index, _threads, out) => giveHandle(out);
  functions.tamias_stream_create = (_device, _bytes, out) => giveHandle(out);
  functions.tamias_event_create = (_device, out) => giveHandle(out);
  functions.tamias_device_info_get = (_device, out) => {
    (out as Uint8Array).set(info.subarray(0, (out as Uint8Array).length));
    return Status.ok;
  };
  functions.tamias_memory_alloc = (_device, bytes, place, out) =>
    write(out, BigInt(count.allocate(Number(bytes), Number(place))));
  functions.tamias_memory_free = (_device, address) => {
    count.free(Number(address));
    return Status.ok;
  };
  return NativeLibrary.of(backend, functions);
}

function write(out: NativeArgument | undefined, value: bigint): number {
  const bytes = out as Uint8Array;
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, value, true);
  return Status.ok;
}
