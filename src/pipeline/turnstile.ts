import { throwIfAborted } from "../../ffi/errors.ts";

/** Lets one in at a time, in the order they came. */
export class Turnstile {
  #last: Promise<void> = Promise.resolve();

  /**
   * Waits for its turn.
   * @returns a function that lets the next one in
   * @throws TamiasError `aborted` when the signal fires first; the turn then passes on
   */
  async enter(signal?: AbortSignal): Promise<() => void> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = before.then(() => promise);
    try {
      await raceAbort(before, signal);
      throwIfAborted(signal);
    } catch (error) {
      resolve();
      throw error;
    }
    return resolve;
  }
}

async function raceAbort(wait: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return wait;
  const aborted = Promise.withResolvers<void>();
  const stop = () => aborted.resolve();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  await Promise.race([wait, aborted.promise]);
  signal.removeEventListener("abort", stop);
}
