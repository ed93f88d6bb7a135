import type { GenerateEvent } from "./events.ts";
import type { GenerateOptions } from "./options.ts";

export interface OpenOptions {
  /** A model that comes with the package (`listModels`), or a folder in diffusers format. */
  readonly model: string;
  /** `auto` (default): the first CUDA device where there is one, else the CPU. */
  readonly device?: "auto" | "cpu" | "cuda" | undefined;
  /** CPU threads; default: all cores. */
  readonly threads?: number | undefined;
}

/** An opened model on a device. */
export interface Tamias extends AsyncDisposable {
  readonly model: string;
  /** Name of the device. */
  readonly device: string;
  /** Makes one picture, telling its progress. Requests on one instance run one after another. */
  generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void>;
  close(): Promise<void>;
}

/**
 * Opens a model: loads its weights onto a device.
 * @throws TamiasError `not_found`, `bad_weights`, `unsupported`, `out_of_memory` …
 */
export async function open(_options: OpenOptions): Promise<Tamias> {
  throw new Error("being written");
}
