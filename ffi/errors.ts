/**
 * What went wrong, in a word that programs may rely on.
 *
 * - `bad_input`: an option, a prompt or an argument that cannot be used
 * - `not_found`: a file, folder, model, tensor or policy that does not exist
 * - `bad_weights`: a checkpoint that is damaged or does not fit the network
 * - `unsupported`: well-formed, but not something this build can run
 * - `io`: reading or writing failed
 * - `native`: the native library refused a call or could not be loaded
 * - `abi`: the native library belongs to another version of Tamias
 * - `not_finite`: the network gave NaN or infinity: damaged weights, or values beyond the device's number format
 * - `does_not_fit`: the work would need more memory than the device has; it was not begun
 * - `out_of_memory`: the device ran out of memory during the work
 * - `device_failed`: the device failed, or work given to it did; it is not asked again until it has been opened anew
 * - `device_lost`: the process that owned the device died during the work, no longer answered, or cannot be started
 * - `disposed`: a handle was used after its disposal
 * - `aborted`: an AbortSignal stopped the work
 * - `internal`: a mistake in Tamias itself
 */
export type TamiasErrorCode =
  | "bad_input"
  | "not_found"
  | "bad_weights"
  | "unsupported"
  | "io"
  | "native"
  | "abi"
  | "not_finite"
  | "does_not_fit"
  | "out_of_memory"
  | "device_failed"
  | "device_lost"
  | "disposed"
  | "aborted"
  | "internal";

export interface TamiasErrorOptions {
  /** One sentence on what to do about it. */
  hint?: string;
  /** The error that led to this one. */
  cause?: unknown;
  /** What failed afterwards, while this error was being cleaned up after: a sentence each. */
  later?: readonly string[];
}

/** Every error a user is meant to see: `message` is one clear sentence, `code` is stable. */
export class TamiasError extends Error {
  override readonly name = "TamiasError";
  readonly code: TamiasErrorCode;
  readonly hint?: string;
  readonly later?: readonly string[];

  constructor(code: TamiasErrorCode, message: string, options: TamiasErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
    if (options.later !== undefined && options.later.length > 0) this.later = options.later;
  }
}

/** An error as it happened: what was thrown first, and what failed while it was being cleaned up after. */
export interface ErrorInOrder {
  readonly first: unknown;
  /** A sentence each, in the order in which they happened. */
  readonly later: readonly string[];
}

/** Takes apart the SuppressedErrors that `using` and disposable stacks make when a disposer fails as well. */
export function inOrder(error: unknown): ErrorInOrder {
  if (error instanceof SuppressedError) {
    const cause = inOrder(error.suppressed);
    const cleaning = inOrder(error.error);
    return { first: cause.first, later: [...cause.later, messageOf(cleaning.first), ...cleaning.later] };
  }
  return { first: error, later: error instanceof TamiasError ? (error.later ?? []) : [] };
}

/** The code of what was thrown first; undefined for what is no TamiasError. */
export function errorCode(error: unknown): TamiasErrorCode | undefined {
  const { first } = inOrder(error);
  return first instanceof TamiasError ? first.code : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Throws the `aborted` error when the signal has fired, whatever reason it carries.
 * @throws TamiasError `aborted`
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new TamiasError("aborted", "The work was stopped.", { cause: signal.reason });
}
