import { TamiasError } from "./errors.ts";
import type { NativeArgument } from "./runtime/adapter.ts";
import { type SymbolName, symbols } from "./symbols.ts";
import { DESCRIPTOR_BYTES } from "./tensor.ts";

const SLOTS = 512;
const SLOT_BYTES = 2048;
const ARGUMENT_BYTES = 8 + DESCRIPTOR_BYTES;
const HEADER_BYTES = 2048;
const MESSAGE_START = 64;
/** A thread that has not come forward for so long is taken for dead. */
const PATIENCE_MILLISECONDS = 60_000;

const names = Object.keys(symbols) as SymbolName[];
const codes = new Map(names.map((name, code) => [name, code]));

/** What a ring carries besides native calls. */
export const commands = ["close", "record spans", "stop spans", "take spans"] as const;
export type Command = (typeof commands)[number];

/** Indices of the header's 32-bit words. */
const PUSHED = 0;
const DONE = 1;
const FAILED = 2;

/**
 * Native calls on their way from one thread to another: a ring of slots in shared memory with one writer and one reader.
 * Descriptors are read where they lie. Counts wrap around at 32 bits.
 */
export class CallRing {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(buffer = new SharedArrayBuffer(HEADER_BYTES + SLOTS * SLOT_BYTES)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, MESSAGE_START / 4);
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  // ---- the writer

  /** Number of calls pushed so far. */
  get pushed(): number {
    return Atomics.load(this.#words, PUSHED);
  }

  /** @returns the number of calls pushed, this one included. Waits while the ring is full. */
  push(name: SymbolName, native: readonly NativeArgument[]): number {
    const slot = this.#freeSlot();
    this.#view.setUint32(slot, codes.get(name)!, true);
    native.forEach((argument, index) =>
      this.#write(slot + 8 + index * ARGUMENT_BYTES, name, index, argument),
    );
    return this.#publish();
  }

  command(command: Command, argument = 0n): number {
    const slot = this.#freeSlot();
    this.#view.setUint32(slot, names.length + commands.indexOf(command), true);
    this.#view.setBigUint64(slot + 8, argument, true);
    return this.#publish();
  }

  isDone(count: number): boolean {
    return ((Atomics.load(this.#words, DONE) - count) | 0) >= 0;
  }

  /**
   * Waits until the first `count` calls have been made.
   * @throws TamiasError what one of them failed with
   */
  untilDone(count: number): void {
    this.#waitFor(count);
    this.#throwFailure();
  }

  // ---- the reader

  /**
   * Takes the next call or command, waiting for one, and tells the writer when it has been made.
   * @returns false after the command to close
   */
  serve(
    call: (name: SymbolName, native: NativeArgument[]) => void,
    run: (command: Command, argument: bigint) => void,
  ): boolean {
    const done = Atomics.load(this.#words, DONE);
    while (Atomics.load(this.#words, PUSHED) === done) Atomics.wait(this.#words, PUSHED, done);
    const slot = this.#slot(done);
    const code = this.#view.getUint32(slot, true);
    const name = names[code];
    const command = commands[code - names.length];
    try {
      if (command) run(command, this.#view.getBigUint64(slot + 8, true));
      else if (name && Atomics.load(this.#words, FAILED) === 0)
        call(
          name,
          symbols[name].map((type, index) => this.#read(slot + 8 + index * ARGUMENT_BYTES, type)),
        );
    } catch (error) {
      this.#fail(error);
    }
    Atomics.store(this.#words, DONE, (done + 1) | 0);
    Atomics.notify(this.#words, DONE);
    return command !== "close";
  }

  // ---- both

  #slot(count: number): number {
    return HEADER_BYTES + ((count >>> 0) % SLOTS) * SLOT_BYTES;
  }

  #freeSlot(): number {
    const pushed = this.pushed;
    this.untilDone((pushed - SLOTS + 1) | 0);
    return this.#slot(pushed);
  }

  #publish(): number {
    const pushed = (this.pushed + 1) | 0;
    Atomics.store(this.#words, PUSHED, pushed);
    Atomics.notify(this.#words, PUSHED);
    return pushed;
  }

  #write(at: number, name: SymbolName, index: number, argument: NativeArgument): void {
    const type = symbols[name][index];
    if (type === "bytes")
      throw new TamiasError("internal", `${name} takes host memory, which another thread cannot be given.`);
    if (type === "u64") return this.#view.setBigUint64(at, BigInt(argument as bigint | number), true);
    if (type === "tensor" || type === "tensor?") {
      this.#view.setUint32(at, argument === null ? 0 : 1, true);
      if (argument !== null) this.#bytes.set(argument as Uint8Array, at + 8);
      return;
    }
    this.#view.setFloat64(at, argument as number, true);
  }

  #read(at: number, type: (typeof symbols)[SymbolName][number]): NativeArgument {
    if (type === "u64") return this.#view.getBigUint64(at, true);
    if (type === "tensor" || type === "tensor?")
      return this.#view.getUint32(at, true) === 0
        ? null
        : this.#bytes.subarray(at + 8, at + 8 + DESCRIPTOR_BYTES);
    return this.#view.getFloat64(at, true);
  }

  #fail(error: unknown): void {
    const { code, message } =
      error instanceof TamiasError ? error : { code: "internal", message: String(error) };
    const text = new TextEncoder()
      .encode(JSON.stringify({ code, message }))
      .subarray(0, HEADER_BYTES - MESSAGE_START - 4);
    this.#view.setUint32(MESSAGE_START, text.length, true);
    this.#bytes.set(text, MESSAGE_START + 4);
    Atomics.store(this.#words, FAILED, 1);
  }

  #waitFor(count: number): void {
    for (;;) {
      const done = Atomics.load(this.#words, DONE);
      if (((done - count) | 0) >= 0) return;
      if (Atomics.wait(this.#words, DONE, done, PATIENCE_MILLISECONDS) === "timed-out")
        throw new TamiasError("internal", "The thread that makes this stream's calls does not answer.");
    }
  }

  /** The failure is told once; all calls pushed until then are left out first. */
  #throwFailure(): void {
    if (Atomics.load(this.#words, FAILED) === 0) return;
    this.#waitFor(this.pushed);
    const length = this.#view.getUint32(MESSAGE_START, true);
    const text = new TextDecoder().decode(this.#bytes.slice(MESSAGE_START + 4, MESSAGE_START + 4 + length));
    Atomics.store(this.#words, FAILED, 0);
    const { code, message } = JSON.parse(text) as { code: TamiasError["code"]; message: string };
    throw new TamiasError(code, message);
  }
}
