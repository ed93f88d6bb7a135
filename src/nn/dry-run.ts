import { type Device, MemoryCount } from "../../ffi/index.ts";
import { Ops } from "./ops.ts";
import { workspaceBytes } from "./workspace.ts";

/**
 * Code run with shapes alone: its ops do nothing, its memory is only counted, piece by piece as it would be taken. Tells
 * what memory a load, a step, a decoding or a whole run will need before any of it is taken. What it reads from the
 * device is zeros.
 */
export class DryRun implements Disposable {
  readonly ops: Ops;
  readonly memory = new MemoryCount();
  readonly #device: Device;

  /** @param device of the kind that the code will run on */
  constructor(device: Device) {
    this.#device = device.counting(this.memory, workspaceBytes);
    this.ops = new Ops(this.#device.createStream());
  }

  /** Bytes of the device held now: tensors, pools, and the streams' workspaces. */
  get bytes(): number {
    return this.memory.device.bytes;
  }

  /** Most bytes that some work holds at once, beyond what is held before. Pools begin empty. */
  peakOf(work: () => void): number {
    this.ops.memory.trim();
    const { device } = this.memory;
    const before = device.bytes;
    device.restart();
    work();
    return device.mostBytes - before;
  }

  [Symbol.dispose](): void {
    this.ops[Symbol.dispose]();
    this.#device[Symbol.dispose]();
  }
}
