import { type DeviceTensor, type DType } from "../../ffi/index.ts";
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
  readonly #tensors: DeviceTensor[] = [];

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
    const tensor = this.#ops.lasting(shape, dtype);
    this.#tensors.push(tensor);
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
    using whole = this.#ops.temporary([outFeatures, inFeatures], this.#dtype);
    this.#source.fill(this.#ops, name, whole);
    let next = 0;
    return parts.map(({ columns, isTransposed = false }) => {
      const shape = isTransposed ? [columns, outFeatures] : [outFeatures, columns];
      const held = this.keep(this.#ops.lasting(shape, this.#dtype));
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
    this.#tensors.push(tensor);
    return tensor;
  }

  get bytes(): number {
    return this.#tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors.splice(0)) tensor[Symbol.dispose]();
  }
}
