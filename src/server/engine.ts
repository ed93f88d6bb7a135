import type { PictureSizes, RequestDefaults } from "../models/family.ts";
import type { GenerateEvent } from "../pipeline/events.ts";
import type { GenerateOptions } from "../pipeline/options.ts";

/** What the server needs of an opened model: `Tamias`, one in a Worker, or one in a process of its own. */
export interface Engine {
  readonly model: string;
  /** Name of the device. */
  readonly device: string;
  /** Without it, a wrong size is only found when a job's turn comes. */
  readonly sizes?: PictureSizes | undefined;
  /** What a request gets that does not say. */
  readonly defaults: RequestDefaults;
  /** Bytes of device memory held now, where the engine can tell. */
  readonly deviceBytes?: number | undefined;
  /** Why a request would not run now, in half a sentence; undefined: it would, as far as the engine knows. */
  readonly unavailable?: string | undefined;
  generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void>;
  close(): Promise<void>;
}
