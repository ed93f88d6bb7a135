import type { Device, DeviceTensor } from "../../../ffi/index.ts";

export interface TextStatesBounds {
  /** Prompts kept at most. */
  readonly count: number;
  /** Bytes of device memory kept at most. */
  readonly bytes: number;
}

const defaultBounds: TextStatesBounds = { count: 32, bytes: 256 * 2 ** 20 };

/** States of one prompt, lent: not freed before this is disposed. */
export interface TextStatesLease<Name extends string> extends Disposable {
  readonly states: Readonly<Record<Name, DeviceTensor>>;
}

interface Entry<Name extends string> {
  readonly states: Readonly<Record<Name, DeviceTensor>>;
  readonly bytes: number;
  leases: number;
}

/**
 * What text encoders made of the latest prompts, so that a prompt that comes again need not be encoded. Bounded; those
 * that no run uses are freed when the device lacks memory.
 */
export class TextStates<Name extends string> implements Disposable {
  readonly #bounds: TextStatesBounds;
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry<Name>>();
  readonly #shortage: Disposable;

  constructor(device: Device, bounds: Partial<TextStatesBounds> = {}) {
    this.#bounds = { ...defaultBounds, ...bounds };
    this.#shortage = device.onShortage(() => this.trim());
  }

  /**
   * @param key all that the states depend on: the prompt, or its token ids
   * @param encode makes the states where they are not kept; they become this object's
   */
  take(key: string, encode: () => Readonly<Record<Name, DeviceTensor>>): TextStatesLease<Name> {
    const entry = this.#entries.get(key) ?? entryOf(encode());
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.leases++;
    this.#shrink(this.#bounds);
    let isLent = true;
    return {
      states: entry.states,
      [Symbol.dispose]: () => {
        if (!isLent) return;
        isLent = false;
        entry.leases--;
        this.#shrink(this.#bounds);
      },
    };
  }

  /** Bytes of device memory held. */
  get bytes(): number {
    return this.#entries.values().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Frees all that no run uses. */
  trim(): void {
    this.#shrink({ count: 0, bytes: 0 });
  }

  /** Frees everything. Leases must not be used any more. */
  [Symbol.dispose](): void {
    this.#shortage[Symbol.dispose]();
    for (const { states } of this.#entries.values()) free(states);
    this.#entries.clear();
  }

  #shrink({ count, bytes }: TextStatesBounds): void {
    let held = this.bytes;
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= count && held <= bytes) return;
      if (entry.leases > 0) continue;
      this.#entries.delete(key);
      held -= entry.bytes;
      free(entry.states);
    }
  }
}

function entryOf<Name extends string>(states: Readonly<Record<Name, DeviceTensor>>): Entry<Name> {
  const bytes = Object.values<DeviceTensor>(states).reduce((sum, tensor) => sum + tensor.bytes, 0);
  return { states, bytes, leases: 0 };
}

function free(states: Readonly<Record<string, DeviceTensor>>): void {
  for (const tensor of Object.values(states)) tensor[Symbol.dispose]();
}
