import { type DeviceTensor, type DType, TamiasError } from "../../ffi/index.ts";
import type { Convolution, Linear, Ops } from "./ops.ts";

/** Where a network's parameters come from. */
export interface ParameterSource {
  has(name: string): boolean;
  /**
   * Queues the filling of a tensor.
   * @throws TamiasError `bad_weights` when it is absent, has another shape, or a dtype that is no number
   */
  fill(ops: Ops, name: string, out: DeviceTensor): void;
}

/** A network's parameters on the device, by name. Disposing frees all of them. */
export class Parameters implements Disposable {
  readonly #ops: Ops;
  readonly #source: ParameterSource;
  readonly #dtype: DType;
  readonly #loaded: { readonly name: string; readonly tensor: DeviceTensor }[] = [];
  readonly #derived: DeviceTensor[] = [];

  constructor(ops: Ops, source: ParameterSource, dtype: DType = ops.activationType) {
    this.#ops = ops;
    this.#source = source;
    this.#dtype = dtype;
  }

  has(name: string): boolean {
    return this.#source.has(name);
  }

  /** @throws TamiasError as `ParameterSource.fill` does */
  tensor(name: string, shape: readonly number[], dtype = this.#dtype): DeviceTensor {
    const tensor = this.#ops.memory.own(shape, dtype);
    this.#loaded.push({ name, tensor });
    this.#source.fill(this.#ops, name, tensor);
    return tensor;
  }

  /** A dense layer `prefix.weight` [out, in] with `prefix.bias` [out] unless `bias` is false. */
  linear(prefix: string, inFeatures: number, outFeatures: number, { bias = true } = {}): Linear {
    return {
      weight: this.tensor(`${prefix}.weight`, [outFeatures, inFeatures]),
      bias: bias ? this.tensor(`${prefix}.bias`, [outFeatures]) : null,
    };
  }

  /**
   * Input columns of a stored weight [out, in], cut into tensors of their own, in order. A transposed one is held as rows
   * [in, out] and given as a view [out, in]: a dense layer reads it as such, deltas of an MLP read its rows.
   */
  weightColumns(
    name: string,
    outFeatures: number,
    parts: readonly { readonly columns: number; readonly isTransposed?: boolean }[],
  ): DeviceTensor[] {
    const inFeatures = parts.reduce((sum, { columns }) => sum + columns, 0);
    using whole = this.#ops.memory.temporary([outFeatures, inFeatures], this.#dtype);
    this.#source.fill(this.#ops, name, whole);
    let next = 0;
    return parts.map(({ columns, isTransposed = false }) => {
      const shape = isTransposed ? [columns, outFeatures] : [outFeatures, columns];
      const held = this.#ops.memory.own(shape, this.#dtype);
      this.#loaded.push({ name, tensor: held });
      const part = isTransposed ? held.permute(1, 0) : held;
      this.#ops.copy(whole.slice(1, next, next + columns), part);
      next += columns;
      return part;
    });
  }

  convolution(prefix: string, inChannels: number, outChannels: number, kernel: number): Convolution {
    return {
      weight: this.tensor(`${prefix}.weight`, [outChannels, inChannels, kernel, kernel]),
      bias: this.tensor(`${prefix}.bias`, [outChannels]),
    };
  }

  /** Weight and bias of a norm over `size` features or channels. */
  norm(prefix: string, size: number): Linear {
    return { weight: this.tensor(`${prefix}.weight`, [size]), bias: this.tensor(`${prefix}.bias`, [size]) };
  }

  /** Keeps a tensor derived from parameters (a transposed copy, say) until these are disposed. */
  keep(tensor: DeviceTensor): DeviceTensor {
    this.#derived.push(tensor);
    return tensor;
  }

  /**
   * Sees that what was loaded holds no NaN and no infinity. Waits for the stream.
   * @param origin where the parameters come from, for the error
   * @throws TamiasError `bad_weights` naming the first that does
   */
  checkFinite(origin: string): void {
    const ops = this.#ops;
    if (this.#loaded.length === 0) return;
    using norms = ops.memory.temporary([this.#loaded.length], "f32");
    this.#loaded.forEach(({ tensor }, at) => {
      const rows = tensor.shape[0] ?? 1;
      using ofRows = ops.memory.temporary([1, rows], "f32");
      ops.rowNorms(tensor.reshape(rows, tensor.elements / rows), ofRows.reshape(rows));
      ops.rowNorms(ofRows, norms.slice(0, at, at + 1));
    });
    const wrong = ops.stream
      .read(norms, new Float32Array(norms.elements))
      .findIndex((norm) => !Number.isFinite(norm));
    if (wrong >= 0)
      throw new TamiasError(
        "bad_weights",
        `${origin}: the weights beside it are damaged: ${this.#loaded[wrong]!.name} holds a NaN, an infinity, or values beyond 1e19.`,
      );
  }

  get bytes(): number {
    return this.#all.reduce((sum, tensor) => sum + tensor.bytes, 0);
  }

  get #all(): DeviceTensor[] {
    return [...this.#loaded.map(({ tensor }) => tensor), ...this.#derived];
  }

  [Symbol.dispose](): void {
    const all = this.#all;
    this.#loaded.length = 0;
    this.#derived.length = 0;
    for (const tensor of all) tensor[Symbol.dispose]();
  }
}
