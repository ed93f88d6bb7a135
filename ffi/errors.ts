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
 * - `device_lost`: the process that owned the device died during the work, or cannot be started
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
  | "device_lost"
  | "disposed"
  | "aborted"
  | "internal";

export interface TamiasErrorOptions {
  /** One sentence on what to do about it. */
  hint?: string;
  /** The error that led to this one. */
  cause?: unknown;
}

/** Every error a user is meant to see: `message` is one clear sentence, `code` is stable. */
export class TamiasError extends Error {
  override readonly name = "TamiasError";
  readonly code: TamiasErrorCode;
  readonly hint?: string;

  constructor(code: TamiasErrorCode, message: string, options: TamiasErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/**
 * Throws the `aborted` error when the signal has fired, whatever reason it carries.
 * @throws TamiasError `aborted`
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new TamiasError("aborted", "The work was stopped.", { cause: signal.reason });
}
