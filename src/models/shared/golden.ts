import { join } from "node:path";
import { z } from "zod";
import { TamiasError } from "../../../ffi/index.ts";
import { parseWith, readJsonObject } from "../../weights/json-file.ts";
import { readTensorFloat32, readTensorInt32 } from "../../weights/read-tensor.ts";
import { readSafetensors, type SafetensorsFile, type TensorEntry } from "../../weights/safetensors.ts";

const settingsSchema = z.looseObject({ guidance_scale: z.coerce.number().optional() });

/** Values a reference implementation put in or got out. */
export interface GoldenTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * Reference inputs and outputs beside a model: `golden.safetensors`, tensors named `part.tensor`, with its settings in
 * `golden.json` or in the file's own metadata. Where writers disagree on a tensor's name, methods take all of them.
 */
export class Golden {
  readonly #file: SafetensorsFile;
  readonly #settings: z.output<typeof settingsSchema>;

  private constructor(file: SafetensorsFile, settings: z.output<typeof settingsSchema>) {
    this.#file = file;
    this.#settings = settings;
  }

  /** @throws TamiasError `not_found`, `io` or `bad_weights` */
  static async open(folder: string): Promise<Golden> {
    const file = await readSafetensors(join(folder, "golden.safetensors"));
    const path = join(folder, "golden.json");
    const hasSettings = await Bun.file(path).exists();
    const settings = hasSettings ? await readJsonObject(path) : file.metadata;
    return new Golden(file, parseWith(settingsSchema, settings, hasSettings ? path : file.path));
  }

  /** The guidance scale of the pipeline's run. */
  get guidance(): number {
    const { guidance_scale: guidance } = this.#settings;
    if (guidance === undefined)
      throw new TamiasError("bad_weights", `${this.#file.path} comes without a "guidance_scale".`);
    return guidance;
  }

  has(...names: string[]): boolean {
    return names.some((name) => this.#file.tensors.has(name));
  }

  /** @throws TamiasError `bad_weights` when there is none of that name */
  async tensor(...names: string[]): Promise<GoldenTensor> {
    const entry = this.#entry(names);
    return { name: entry.name, shape: entry.shape, values: await readTensorFloat32(entry) };
  }

  /** Token ids, one array for each row of [batch, tokens]. */
  async sequences(name: string): Promise<Int32Array[]> {
    const entry = this.#entry([name]);
    const [batch = 0, tokens = 0] = entry.shape;
    const ids = await readTensorInt32(entry);
    return Array.from({ length: batch }, (_, row) => ids.subarray(row * tokens, (row + 1) * tokens));
  }

  #entry(names: readonly string[]): TensorEntry {
    const entry = names.map((name) => this.#file.tensors.get(name)).find((found) => found !== undefined);
    if (!entry)
      throw new TamiasError("bad_weights", `${this.#file.path} has no tensor "${names.join('" or "')}".`);
    return entry;
  }
}
