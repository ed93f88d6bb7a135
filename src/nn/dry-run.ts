import {
  Allocation,
  Device,
  type DeviceInfo,
  type DeviceTensor,
  type Event,
  Stream,
  TamiasError,
} from "../../ffi/index.ts";
import type { SymbolName } from "../../ffi/symbols.ts";
import type { AfterStream } from "../../ffi/stream.ts";
import { Ops } from "./ops.ts";
import { workspaceBytes } from "./workspace.ts";

/**
 * Network code run with shapes alone: its ops do nothing, its memory is only counted, piece by piece as it would be
 * taken. Tells what memory a load, a step or a decoding will need before any of it is taken. What it reads from the
 * device is zeros.
 */
export class DryRun implements Disposable {
  readonly ops: Ops;
  readonly #device: CountingDevice;

  /** @param device of the kind that the code will run on */
  constructor(device: Device) {
    this.#device = new CountingDevice(device);
    this.ops = new Ops(this.#device.createStream());
  }

  /** Bytes held now: tensors, pools, and the streams' workspaces. */
  get bytes(): number {
    return this.#device.bytes;
  }

  /** Most bytes that some work holds at once, beyond what is held before. Pools begin empty. */
  peakOf(work: () => void): number {
    this.ops.memory.trim();
    const before = this.#device.bytes;
    this.#device.peakBytes = before;
    work();
    return this.#device.peakBytes - before;
  }

  [Symbol.dispose](): void {
    this.ops[Symbol.dispose]();
  }
}

class CountingDevice extends Device {
  readonly #like: Device;
  bytes = 0;
  peakBytes = 0;
  #nextAddress = 4096;

  constructor(like: Device) {
    super(like.library, like.handle, false);
    this.#like = like;
  }

  override info(): DeviceInfo {
    return { ...this.#like.info(), bytesAllocated: this.bytes };
  }

  override allocate(bytes: number): Allocation {
    if (!(bytes > 0)) throw new TamiasError("bad_input", "bytes is 0");
    const address = this.#nextAddress;
    this.#nextAddress += Math.ceil(bytes / 4096) * 4096;
    this.count(bytes);
    return new Allocation(address, bytes, () => this.count(-bytes));
  }

  count(bytes: number): void {
    this.bytes += bytes;
    this.peakBytes = Math.max(this.peakBytes, this.bytes);
  }

  override createStream(): Stream {
    return new CountingStream(this);
  }

  override untilIdle(): void {}
}

class CountingStream extends Stream {
  readonly #device: CountingDevice;
  #workspaceBytes = 0;

  constructor(device: CountingDevice) {
    super(device, 0n);
    this.#device = device;
  }

  override queue<Name extends SymbolName>(name: Name, ...args: AfterStream<Name>): void {
    this.reserve(Math.max(this.#workspaceBytes, workspaceBytes(this.#device.backend, name, args)));
  }

  override reserve(bytes: number | bigint): void {
    this.#device.count(Number(bytes) - this.#workspaceBytes);
    this.#workspaceBytes = Number(bytes);
  }

  override waitFor(_event: Event): void {}
  override mark(_event: Event): void {}
  override synchronize(): void {}
  override async finished(): Promise<void> {}
  override write(_tensor: DeviceTensor, _values: ArrayBufferView): void {}
  override read<View extends ArrayBufferView>(_tensor: DeviceTensor, into: View): View {
    return into;
  }
  override [Symbol.dispose](): void {
    this.reserve(0);
  }
}
