import { ptr } from "bun:ffi";
import { Device, type DeviceTensor, type DType, type Event, type Stream } from "../../../ffi/index.ts";
import { encoded, testBackend } from "../support.ts";

const GUARD_BYTES = 4096;
const GUARD_VALUE = 0x5a;
const FREED_BYTES = 64 << 20;

/** Live and dead handles and addresses of every kind, and tensors with guards beside them. */
export class World {
  readonly device: Device;
  readonly stream: Stream;
  readonly event: Event;
  readonly deadHandles: readonly bigint[];
  /** Addresses that are no live memory of `device`. */
  readonly foreignAddresses: readonly bigint[];
  readonly #hostMemory = new Uint8Array(1 << 16);
  readonly #other: Device;
  readonly #guards: DeviceTensor[] = [];
  readonly #tensors: { tensor: DeviceTensor; written: Uint8Array }[] = [];

  private constructor(device: Device, other: Device, closed: Device) {
    this.device = device;
    this.stream = device.createStream(1 << 20);
    this.event = device.createEvent();
    this.event.record(this.stream);
    this.#other = other;
    const [stream, event] = [device.createStream(), device.createEvent()];
    const [orphanStream, orphanEvent] = [closed.createStream(), closed.createEvent()];
    this.deadHandles = [stream, event, orphanStream, orphanEvent, closed].map((dead) => dead.handle);
    for (const dead of [stream, event, closed]) dead[Symbol.dispose]();
    // So large that its addresses go back to the system. A GPU's driver gives them out again: to the other device.
    const freed = device.allocate(FREED_BYTES);
    freed[Symbol.dispose]();
    other.allocate(FREED_BYTES);
    this.foreignAddresses = [freed.address, other.allocate(1 << 16).address, ptr(this.#hostMemory)].map(
      BigInt,
    );
  }

  static async open(): Promise<World> {
    const options = { backend: testBackend(), threads: 2 };
    return new World(await Device.open(options), await Device.open(options), await Device.open(options));
  }

  /** A device of its own, to be closed by the call it is for. */
  get otherDevice(): Device {
    return this.#other;
  }

  /** A contiguous tensor that fills its allocation exactly. Values count up from 0, or are the given ones. */
  tensor(shape: readonly number[], dtype: DType = "f32", values?: readonly number[]): DeviceTensor {
    const tensor = this.device.tensor(dtype, shape);
    const elements = Array.from({ length: tensor.elements }, (_, at) => values?.[at] ?? at % 50);
    const storage = encoded(dtype, elements);
    this.stream.write(tensor, storage);
    this.#tensors.push({ tensor, written: new Uint8Array(storage.buffer) });
    const guard = this.device.tensor("u8", [GUARD_BYTES]);
    this.stream.write(guard, new Uint8Array(GUARD_BYTES).fill(GUARD_VALUE));
    this.#guards.push(guard);
    return tensor;
  }

  /** Tensors that no longer hold what was written into them. */
  changedTensors(): DeviceTensor[] {
    return this.#tensors
      .filter(
        ({ tensor, written }) =>
          !Bun.deepEquals(this.stream.read(tensor, new Uint8Array(tensor.bytes)), written),
      )
      .map(({ tensor }) => tensor);
  }

  /** Whether an address lies in a guard. Allocations of a GPU's driver may touch: the one before a tensor can be one. */
  isGuarded(address: bigint): boolean {
    return this.#guards.some(
      (guard) => address >= BigInt(guard.address) && address < BigInt(guard.address + GUARD_BYTES),
    );
  }

  get guardsAreWhole(): boolean {
    return this.#guards.every((guard) =>
      this.stream.read(guard, new Uint8Array(GUARD_BYTES)).every((byte) => byte === GUARD_VALUE),
    );
  }
}
