import { DeviceTensor, type DType, type Event, type Stream } from "../../ffi/index.ts";
import { Ops } from "../nn/index.ts";

/** A tensor that is kept between steps. Work reads and writes it through leases, in the order of the main stream. */
export interface CacheTensor extends Disposable {
  /** Begins to bring it to the device, if it is not there. */
  prefetch(): void;
  /** It as it is, for work queued on the main stream until the lease is disposed. */
  read(): Lease;
  /** Room for its next value, which counts from the disposal of the lease on. */
  write(): Lease;
}

export interface Lease extends Disposable {
  readonly tensor: DeviceTensor;
}

/** A kept tensor in device memory. */
export class DeviceCacheTensor implements CacheTensor {
  readonly #tensor: DeviceTensor;

  constructor(ops: Ops, shape: readonly number[], dtype: DType) {
    this.#tensor = ops.memory.persistent(shape, dtype);
  }

  prefetch(): void {}

  read(): Lease {
    return { tensor: this.#tensor, [Symbol.dispose]() {} };
  }

  write(): Lease {
    return this.read();
  }

  [Symbol.dispose](): void {
    this.#tensor[Symbol.dispose]();
  }
}

/** What moving caches between host and device took in one step. */
export interface TransferReport {
  readonly bytes: number;
  /** Seconds for which the main stream had nothing to do but wait for a transfer. */
  readonly secondsWaited: number;
}

/** A kept tensor in pinned host memory. */
class HostCacheTensor implements CacheTensor {
  readonly host: DeviceTensor;
  readonly #transfers: HostTransfers;

  constructor(transfers: HostTransfers, host: DeviceTensor) {
    this.#transfers = transfers;
    this.host = host;
  }

  prefetch(): void {
    this.#transfers.fetch(this);
  }

  read(): Lease {
    return this.#transfers.read(this);
  }

  write(): Lease {
    return this.#transfers.write(this);
  }

  [Symbol.dispose](): void {
    this.#transfers.forget(this);
    this.host[Symbol.dispose]();
  }
}

/** A point of the main stream that waited for a transfer. */
interface Wait {
  readonly arrived: Event;
  readonly moved: Event;
}

/** Device memory that one host tensor at a time passes through. */
interface Slot {
  readonly memory: DeviceTensor;
  holds: HostCacheTensor | undefined;
  /** The last transfer into or out of it, on the copy stream. */
  moved: Event | undefined;
  /** The last use by the main stream. */
  used: Event | undefined;
  isLeased: boolean;
}

/**
 * Tensors in pinned host memory, and the copy stream that brings them to the device and back through a few slots of
 * device memory. Events order the copy stream and the main one; neither waits while the other keeps ahead of it.
 */
export class HostTransfers implements Disposable {
  readonly #main: Ops;
  readonly #stream: Stream;
  readonly #copy: Ops;
  /** Longest unused first. */
  readonly #slots: Slot[] = [];
  readonly #slotBytes: number;
  readonly #slotCount: number;
  #bytes = 0;
  #waits: Wait[] = [];
  /** Waits of reports that may still be read. */
  readonly #reported = new Set<readonly Wait[]>();
  readonly #events = new Set<Event>();

  /**
   * @param slotBytes of the largest tensor
   * @param slotCount tensors that are on the device at once: those in use, and as many on their way
   */
  constructor(main: Ops, slotBytes: number, slotCount: number) {
    this.#main = main;
    this.#slotBytes = slotBytes;
    this.#slotCount = slotCount;
    this.#stream = main.stream.device.createStream();
    this.#copy = new Ops(this.#stream);
  }

  tensor(shape: readonly number[], dtype: DType): CacheTensor {
    return new HostCacheTensor(this, this.#main.stream.device.tensor(dtype, shape, "host"));
  }

  /** What was moved and waited for in the step that has just been queued. */
  takeReport(): { read(): TransferReport } & Disposable {
    const [bytes, waits] = [this.#bytes, this.#waits];
    this.#bytes = 0;
    this.#waits = [];
    this.#reported.add(waits);
    return {
      read: () => ({
        bytes,
        secondsWaited: waits.reduce(
          (sum, { arrived, moved }) => sum + Math.max(0, arrived.secondsUntil(moved)),
          0,
        ),
      }),
      [Symbol.dispose]: () => {
        this.#reported.delete(waits);
        this.#sweep();
      },
    };
  }

  fetch(tensor: HostCacheTensor): Slot {
    const there = this.#slots.find(({ holds }) => holds === tensor);
    if (there) return this.#touch(there);
    const slot = this.#free();
    if (slot.used) this.#stream.waitFor(slot.used);
    this.#copy.copy(tensor.host, viewOf(slot, tensor));
    this.#moved(slot, tensor);
    return slot;
  }

  read(tensor: HostCacheTensor): Lease {
    const slot = this.fetch(tensor);
    this.#await(slot);
    return this.#lease(slot, tensor, () => {});
  }

  write(tensor: HostCacheTensor): Lease {
    const slot = this.#slots.find(({ holds }) => holds === tensor) ?? this.#free();
    this.#await(slot);
    return this.#lease(slot, tensor, () => {
      this.#stream.waitFor(slot.used!);
      this.#copy.copy(viewOf(slot, tensor), tensor.host);
      this.#moved(slot, tensor);
    });
  }

  /** A tensor that is no more. */
  forget(tensor: HostCacheTensor): void {
    for (const slot of this.#slots) if (slot.holds === tensor) slot.holds = undefined;
  }

  /** Waits for the copies that are under way. */
  [Symbol.dispose](): void {
    using parts = new DisposableStack();
    parts.use(this.#stream);
    parts.use(this.#copy);
    for (const event of this.#events) parts.use(event);
    for (const { memory } of this.#slots.splice(0)) parts.use(memory);
    this.#stream.synchronize();
  }

  /** The main stream waits for the slot's last transfer. */
  #await(slot: Slot): void {
    if (!slot.moved) return;
    const arrived = this.#event();
    arrived.record(this.#main.stream);
    this.#main.stream.waitFor(slot.moved);
    this.#waits.push({ arrived, moved: slot.moved });
  }

  #lease(slot: Slot, tensor: HostCacheTensor, after: () => void): Lease {
    slot.isLeased = true;
    slot.holds = tensor;
    return {
      tensor: viewOf(slot, tensor),
      [Symbol.dispose]: () => {
        slot.isLeased = false;
        slot.used ??= this.#event();
        slot.used.record(this.#main.stream);
        after();
        this.#touch(slot);
      },
    };
  }

  #moved(slot: Slot, tensor: HostCacheTensor): void {
    slot.holds = tensor;
    // A mark of its own: the one before may still be asked when it was reached.
    slot.moved = this.#event();
    slot.moved.record(this.#stream);
    this.#bytes += tensor.host.bytes;
    this.#touch(slot);
  }

  /** The slot that nothing has used for longest. */
  #free(): Slot {
    const slot = this.#slots.find(({ isLeased }) => !isLeased);
    if (slot && (this.#slots.length >= this.#slotCount || !slot.holds)) return slot;
    const made: Slot = {
      memory: this.#main.memory.persistent([this.#slotBytes], "u8"),
      holds: undefined,
      moved: undefined,
      used: undefined,
      isLeased: false,
    };
    this.#slots.push(made);
    return made;
  }

  #touch(slot: Slot): Slot {
    this.#slots.splice(this.#slots.indexOf(slot), 1);
    this.#slots.push(slot);
    return slot;
  }

  #event(): Event {
    const event = this.#main.stream.device.createEvent();
    this.#events.add(event);
    return event;
  }

  /** Lets go of marks that neither a slot nor a report asks for. */
  #sweep(): void {
    const asked = new Set<Event | undefined>([
      ...this.#slots.flatMap(({ moved, used }) => [moved, used]),
      ...[this.#waits, ...this.#reported].flat().flatMap(({ arrived, moved }) => [arrived, moved]),
    ]);
    for (const event of this.#events)
      if (!asked.has(event)) {
        this.#events.delete(event);
        event[Symbol.dispose]();
      }
  }
}

function viewOf({ memory }: Slot, { host }: HostCacheTensor): DeviceTensor {
  return new DeviceTensor(memory.allocation, host.dtype, host.shape, undefined, memory.byteOffset);
}
