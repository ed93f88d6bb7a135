/** Lets who sends be a few messages ahead of who takes them, and no more. */
export class FlowWindow {
  #free: number;
  #wake: () => void = () => {};

  constructor(size: number) {
    this.#free = size;
  }

  /** A message has been taken. */
  open(): void {
    this.#free++;
    this.#wake();
  }

  /** Waits for room for one message; no longer than until the signal fires. */
  async enter(signal: AbortSignal): Promise<void> {
    if (this.#free === 0 && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      signal.addEventListener("abort", this.#wake);
      await promise;
      signal.removeEventListener("abort", this.#wake);
    }
    this.#free--;
  }
}
