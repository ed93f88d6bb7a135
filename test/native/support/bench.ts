import type { DType, Device, Stream } from "../../../ffi/index.ts";
import type { Arguments } from "../../../ffi/library.ts";
import type { SymbolName } from "../../../ffi/symbols.ts";
import { elementCount } from "../../../ffi/tensor.ts";
import { type Layout, place } from "./layout.ts";
import { Operand } from "./operand.ts";
import type { Random } from "./random.ts";
import { Values } from "./values.ts";

type AfterStream<Name extends SymbolName> = Arguments<Name> extends [unknown, ...infer Rest] ? Rest : never;

export interface OperandOptions {
  readonly dtype?: DType;
  readonly layout?: Layout;
}

/** What one test works with: a device, a stream, random values, and operands that go away with it. */
export class Bench implements Disposable {
  readonly device: Device;
  readonly stream: Stream;
  readonly random: Random;
  readonly #operands: Operand[] = [];

  constructor(device: Device, random: Random) {
    this.device = device;
    this.stream = device.createStream();
    this.random = random;
  }

  /** The dtypes that activations may have on this backend. */
  get activationTypes(): readonly DType[] {
    return this.device.backend === "cuda" ? ["bf16", "f32"] : ["f32"];
  }

  /** The dtypes that weights may have on this backend. */
  get weightTypes(): readonly DType[] {
    return this.device.backend === "cuda" ? ["bf16"] : ["f32", "bf16", "f16"];
  }

  /** A number of neighbouring queries or tokens that this backend can treat as one group. */
  group(): number {
    if (this.device.backend === "cuda" && this.random.chance(0.5)) return this.device.info().queryGroup;
    return this.random.pick([1, 2, 7, 16, 33, 64, 128, 192, this.random.integer(1, 200)]);
  }

  /** Standard normal values. */
  normal(shape: readonly number[], options: OperandOptions = {}): Operand {
    return this.input(
      new Values(shape).map(() => this.random.normal()),
      options,
    );
  }

  uniform(shape: readonly number[], from: number, to: number, options: OperandOptions = {}): Operand {
    return this.input(
      new Values(shape).map(() => this.random.uniform(from, to)),
      options,
    );
  }

  /** A layer's weight, [outputs, ...inputs] unless told: normal values that keep the size of what they multiply. */
  weight(
    shape: readonly number[],
    options: OperandOptions = {},
    inputs = elementCount(shape.slice(1)),
  ): Operand {
    const values = new Values(shape).map(() => this.random.normal() / Math.sqrt(Math.max(1, inputs)));
    return this.input(values, { dtype: this.random.pick(this.weightTypes), ...options });
  }

  input(values: Values, { dtype = "f32", layout = "contiguous" }: OperandOptions = {}): Operand {
    return this.#keep(
      new Operand(this.stream, dtype, values.shape, place(values.shape, layout, this.random), values),
    );
  }

  output(shape: readonly number[], { dtype = "f32", layout = "contiguous" }: OperandOptions = {}): Operand {
    return this.#keep(new Operand(this.stream, dtype, shape, place(shape, layout, this.random), undefined));
  }

  /** Queues a native call; throws what the library refuses. */
  call<Name extends SymbolName>(name: Name, ...args: AfterStream<Name>): void {
    this.stream.queue(name, ...args);
  }

  [Symbol.dispose](): void {
    for (const operand of this.#operands.splice(0)) operand[Symbol.dispose]();
    this.stream[Symbol.dispose]();
  }

  #keep(operand: Operand): Operand {
    this.#operands.push(operand);
    return operand;
  }
}
