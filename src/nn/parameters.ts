import { type DeviceTensor, type DType, dtypes, TamiasError } from "../../ffi/index.ts";
import { elementCount } from "../../ffi/tensor.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import type { TensorEntry } from "../weights/safetensors.ts";
import type { Convolution, Linear, Ops } from "./ops.ts";

/** How a checkpoint's dtype names appear in the ABI. */
const fileTypes: Record<string, DType> = {
  F32: "f32",
  BF16: "bf16",
  F16: "f16",
  I8: "i8",
  F8_E4M3: "f8_e4m3",
};

/**
 * A network's parameters on the device, loaded from a checkpoint by name. Files are read by path and offset inside the
 * native library. 8-bit weights are widened and multiplied by their row scales while loading.
 * Disposing frees all of them.
 */
export class Parameters implements Disposable {
  readonly #ops: Ops;
  readonly #checkpoint: Checkpoint;
  readonly #dtype: DType;
  readonly #tensors: DeviceTensor[] = [];

  constructor(ops: Ops, checkpoint: Checkpoint, dtype: DType = ops.activationType) {
    this.#ops = ops;
    this.#checkpoint = checkpoint;
    this.#dtype = dtype;
  }

  has(name: string): boolean {
    return this.#checkpoint.has(name);
  }

  /**
   * @throws TamiasError `bad_weights` when the tensor is absent, has another shape, or a dtype that is no number
   */
  tensor(name: string, shape: readonly number[], dtype = this.#dtype): DeviceTensor {
    const entry = this.#checkpoint.get(name);
    if (entry.shape.join() !== shape.join())
      throw new TamiasError(
        "bad_weights",
        `${entry.path}: ${name} has shape [${entry.shape.join(", ")}], this network needs [${shape.join(", ")}].`,
      );
    const tensor = this.#ops.lasting(shape, dtype);
    this.#tensors.push(tensor);
    const scale = this.#checkpoint.scaleOf(name);
    if (scale) this.#loadScaled(entry, scale, tensor);
    else this.#load(entry, tensor);
    return tensor;
  }

  /** A dense layer `prefix.weight` [out, in] with `prefix.bias` [out] unless `bias` is false. */
  linear(prefix: string, inFeatures: number, outFeatures: number, { bias = true } = {}): Linear {
    return {
      weight: this.tensor(`${prefix}.weight`, [outFeatures, inFeatures]),
      bias: bias ? this.tensor(`${prefix}.bias`, [outFeatures]) : null,
    };
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

  #load(entry: TensorEntry, out: DeviceTensor): void {
    const type = fileTypes[entry.dtype];
    if (!type)
      throw new TamiasError(
        "bad_weights",
        `${entry.path}: ${entry.name} is ${entry.dtype}, which is no weight format.`,
      );
    const path = new TextEncoder().encode(`${entry.path}\0`);
    this.#ops.stream.queue("tamias_tensor_load", path, entry.byteOffset, dtypes[type].code, out);
  }

  /** value = stored * scale[row]; rows are the first dimension. */
  #loadScaled(entry: TensorEntry, scaleEntry: TensorEntry, out: DeviceTensor): void {
    const rows = entry.shape[0] ?? 1;
    const scales = elementCount(scaleEntry.shape);
    using scale = this.#ops.temporary([scales], "f32");
    this.#load(scaleEntry, scale);
    using wide = this.#ops.temporary([rows, out.elements / rows], "f32");
    this.#load(entry, wide);
    this.#ops.stream.queue("tamias_scale_rows", wide, scale);
    this.#ops.copy(wide, out.reshape(...wide.shape));
  }
}
