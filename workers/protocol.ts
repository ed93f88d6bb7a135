import { TamiasError, type TamiasErrorCode } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { PictureSizes, RequestDefaults } from "../src/models/family.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";

/** What the Worker or process that owns a model is told. `request` names a generation. */
export type ToWorker =
  | { readonly type: "open"; readonly options: OpenOptions }
  | { readonly type: "generate"; readonly request: number; readonly options: Omit<GenerateOptions, "signal"> }
  | { readonly type: "abort"; readonly request: number }
  | { readonly type: "close" };

/** What it tells. Every request ends in exactly one `done` or `failed`. */
export type FromWorker =
  | ({ readonly type: "opened" } & AboutModel)
  | { readonly type: "refused"; readonly error: PlainError }
  | {
      readonly type: "event";
      readonly request: number;
      readonly event: GenerateEvent;
      /** Device memory held at this moment. */
      readonly deviceBytes: number;
    }
  | { readonly type: "done"; readonly request: number }
  | { readonly type: "failed"; readonly request: number; readonly error: PlainError }
  | { readonly type: "closed" };

/** What an opened model says of itself. */
export interface AboutModel {
  readonly model: string;
  /** Name of the device. */
  readonly device: string;
  readonly sizes: PictureSizes;
  readonly defaults: RequestDefaults;
}

/** An error as it survives being posted. */
export interface PlainError {
  readonly code: TamiasErrorCode;
  readonly message: string;
  readonly hint?: string;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof TamiasError)
    return {
      code: error.code,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    };
  return { code: "internal", message: error instanceof Error ? error.message : String(error) };
}

export function fromPlainError({ code, message, hint }: PlainError): TamiasError {
  return new TamiasError(code, message, hint === undefined ? {} : { hint });
}
