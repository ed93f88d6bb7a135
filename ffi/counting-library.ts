import { type Backend, NativeLibrary } from "./library.ts";
import type { NativeArgument, NativeFunction } from "./runtime/adapter.ts";
import { type ArgumentType, Status, type SymbolName, symbols } from "./symbols.ts";
import { shapeOfDescriptor } from "./tensor.ts";

/** Addresses that no memory has: far above what a process is given. */
const FIRST_ADDRESS = 2 ** 50;
const ALIGNMENT = 256;
/** TAMIAS_HOST_MEMORY */
const HOST = 1;
/** Where `tamias_device_info` has what is allocated on the device, and on the host. */
const BYTES_ALLOCATED = 40;
const HOST_BYTES_ALLOCATED = 48;

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

/** What a counting library was asked to keep; workspaces count as memory of the device. */
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

/** What an op was given, by its place after the stream. */
export interface OpArguments {
  number(at: number): number;
  /** Sizes of a tensor's dimensions. */
  shape(at: number): readonly number[];
}

/** Bytes of workspace that an op asks its stream for. */
export type WorkspaceEstimate = (backend: Backend, name: SymbolName, args: OpArguments) => number;

/**
 * A library that computes nothing, at once: memory it is asked for is counted, everything else is taken and left undone.
 * Programs run on it as they would on the real one, and so tell what they will need; what they read is zeros.
 * @param info bytes of the `tamias_device_info` of the device it stands for
 */
export function countingLibrary(
  backend: Backend,
  info: Uint8Array,
  count: MemoryCount,
  estimate: WorkspaceEstimate,
): NativeLibrary {
  const workspaces = new Map<NativeArgument, { bytes: number; needed: number }>();
  const op =
    (name: SymbolName): NativeFunction =>
    (stream = 0n, ...args) => {
      const workspace = workspaces.get(stream);
      if (!workspace) return Status.ok;
      workspace.needed = estimate(backend, name, {
        number: (at) => Number(args[at]),
        shape: (at) => shapeOfDescriptor(args[at] as Uint8Array),
      });
      return workspace.needed > workspace.bytes ? Status.workspace : Status.ok;
    };
  const functions = Object.fromEntries(
    Object.entries(symbols).map(([name, types]: [string, readonly ArgumentType[]]) => [
      name,
      types.includes("tensor") ? op(name as SymbolName) : () => Status.ok,
    ]),
  ) as Record<SymbolName, NativeFunction>;
  const reserve = (stream: NativeArgument, bytes: number) => {
    const workspace = workspaces.get(stream);
    if (!workspace || (bytes > 0 && bytes <= workspace.bytes)) return;
    count.device.add(bytes - workspace.bytes);
    workspace.bytes = bytes;
  };
  let handles = 0n;
  const give = (out: NativeArgument | undefined): number => write(out, ++handles);
  functions.tamias_device_open = (_index, _threads, out) => give(out);
  functions.tamias_event_create = (_device, out) => give(out);
  functions.tamias_stream_create = (_device, bytes = 0, out) => {
    give(out);
    workspaces.set(handles, { bytes: 0, needed: 0 });
    reserve(handles, Number(bytes));
    return Status.ok;
  };
  functions.tamias_stream_destroy = (stream = 0n) => {
    reserve(stream, 0);
    workspaces.delete(stream);
    return Status.ok;
  };
  functions.tamias_stream_reserve = (stream = 0n, bytes) => {
    reserve(stream, Number(bytes));
    return Status.ok;
  };
  functions.tamias_stream_workspace_needed = (stream = 0n, out) =>
    write(out, BigInt(workspaces.get(stream)?.needed ?? 0));
  functions.tamias_device_info_get = (_device, out) => {
    const bytes = out as Uint8Array;
    bytes.set(info.subarray(0, bytes.length));
    write(bytes.subarray(BYTES_ALLOCATED), BigInt(count.device.bytes));
    return write(bytes.subarray(HOST_BYTES_ALLOCATED), BigInt(count.host.bytes));
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
