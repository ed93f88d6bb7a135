import { throwIfAborted } from "../../ffi/errors.ts";

/**
 * Waits for work that takes no signal itself, and leaves it behind when the signal fires.
 * @throws TamiasError `aborted`, or what the work throws
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, resolve } = Promise.withResolvers<undefined>();
  const stop = () => resolve(undefined);
  signal.addEventListener("abort", stop);
  try {
    throwIfAborted(signal);
    await Promise.race([work, aborted]);
    throwIfAborted(signal);
    return await work;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
