import { TamiasError } from "../../ffi/errors.ts";
import type { JsonObject } from "./json-file.ts";
import type { TensorEntry } from "./safetensors.ts";

/** The configuration of one network and where each of its tensors lies. */
export class Checkpoint {
  readonly folder: string;
  /** `config.json` as it was read; the network's own schema checks it. */
  readonly config: JsonObject;
  readonly #tensors: ReadonlyMap<string, TensorEntry>;

  constructor(folder: string, config: JsonObject, tensors: ReadonlyMap<string, TensorEntry>) {
    this.folder = folder;
    this.config = config;
    this.#tensors = tensors;
  }

  names(): string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /**
   * @param shape when given, the tensor must have exactly this shape
   * @throws TamiasError `bad_weights` when there is no such tensor or its shape differs
   */
  get(name: string, shape?: readonly number[]): TensorEntry {
    const entry = this.#tensors.get(name);
    if (!entry) throw new TamiasError("bad_weights", `${this.folder} has no tensor "${name}".`);
    if (shape && !sameShape(entry.shape, shape)) {
      throw new TamiasError(
        "bad_weights",
        `Tensor "${name}" of ${this.folder} is [${entry.shape.join(", ")}], not [${shape.join(", ")}].`,
      );
    }
    return entry;
  }

  /**
   * The scale of an 8-bit weight: `X.weight` of type I8 or F8_E4M3 stands beside `X.weight_scale`, float32,
   * one value for each row (`[rows]` or `[rows, 1]`) or one for all (`[]` or `[1]`).
   * @returns undefined when the tensor has a wider type and needs no scale
   * @throws TamiasError `bad_weights` when an 8-bit tensor has no scale, or one of the wrong type or shape
   */
  scaleOf(name: string): TensorEntry | undefined {
    const { dtype, shape } = this.get(name);
    if (dtype !== "I8" && dtype !== "F8_E4M3") return undefined;
    const scale = this.get(`${name}_scale`);
    const rows = shape[0] ?? 1;
    const fits = [[], [1], [rows], [rows, 1]].some((allowed) => sameShape(scale.shape, allowed));
    if (scale.dtype !== "F32" || !fits) {
      throw new TamiasError(
        "bad_weights",
        `Tensor "${scale.name}" of ${this.folder} is ${scale.dtype} [${scale.shape.join(", ")}], not F32 [${rows}].`,
      );
    }
    return scale;
  }
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}
