/**
 * Something to stop that also stops when a longer-lived signal fires. Unlike `AbortSignal.any`, which leaves a kilobyte
 * with the longer-lived signal each time, it lets go of it when disposed.
 */
export class LinkedAbort implements Disposable {
  readonly #own = new AbortController();
  readonly #parent: AbortSignal | undefined;
  readonly #stop = (): void => this.#own.abort(this.#parent?.reason);
  #isOwn = false;

  constructor(parent: AbortSignal | undefined) {
    this.#parent = parent;
    parent?.addEventListener("abort", this.#stop);
    if (parent?.aborted) this.#stop();
  }

  get signal(): AbortSignal {
    return this.#own.signal;
  }

  /** Whether `abort` was called, not only the other signal fired. */
  get isOwn(): boolean {
    return this.#isOwn;
  }

  abort(): void {
    this.#isOwn = true;
    this.#own.abort();
  }

  [Symbol.dispose](): void {
    this.#parent?.removeEventListener("abort", this.#stop);
  }
}
