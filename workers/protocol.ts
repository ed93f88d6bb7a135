import { inOrder, TamiasError, type TamiasErrorCode } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { PictureSizes, RequestDefaults } from "../src/models/family.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";

/** Events of a request that may be on their way, or wait to be taken. */
export const EVENTS_AHEAD = 8;

/** What the Worker or process that owns a model is told. `request` names a generation. */
export type ToWorker =
  | { readonly type: "open"; readonly options: OpenOptions }
  | { readonly type: "generate"; readonly request: number; readonly options: Omit<GenerateOptions, "signal"> }
  /** An event of the request has been taken: another may follow. */
  | { readonly type: "taken"; readonly request: number }
  | { readonly type: "abort"; readonly request: number }
  | { readonly type: "close" };

/** What it tells. Every request is accepted at once, and ends in exactly one `done` or `failed`. */
export type FromWorker =
  | ({ readonly type: "opened" } & AboutModel)
  | { readonly type: "refused"; readonly error: PlainError }
  | { readonly type: "accepted"; readonly request: number }
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
  /** What failed while it was being cleaned up after, a sentence each. */
  readonly later?: readonly string[];
}

/** Of several errors the first is the one that is told; the others go with it. */
export function toPlainError(error: unknown): PlainError {
  const { first, later } = inOrder(error);
  const attached = later.length === 0 ? {} : { later };
  if (first instanceof TamiasError) {
    const { code, message, hint } = first;
    return { code, message, ...(hint === undefined ? {} : { hint }), ...attached };
  }
  return { code: "internal", message: first instanceof Error ? first.message : String(first), ...attached };
}

export function fromPlainError({ code, message, hint, later }: PlainError): TamiasError {
  return new TamiasError(code, message, {
    ...(hint === undefined ? {} : { hint }),
    ...(later === undefined ? {} : { later }),
  });
}
