/** How fast pictures are made, counting the steps of those that are not finished. */
export class Throughput {
  readonly #began = performance.now();
  /** Share done of the pictures that are being made, by id. */
  readonly #begun = new Map<string, number>();
  #finished = 0;
  #left: number;

  /** @param left pictures to be made */
  constructor(left: number) {
    this.#left = left;
  }

  step(id: string, share: number): void {
    this.#begun.set(id, share);
  }

  end(id: string): void {
    this.#begun.delete(id);
    this.#finished++;
    this.#left--;
  }

  /** The work was stopped or lost. */
  forget(id: string): void {
    this.#begun.delete(id);
  }

  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  get picturesPerSecond(): number {
    return this.seconds === 0 ? 0 : this.#made / this.seconds;
  }

  /** undefined before anything is known. */
  get secondsLeft(): number | undefined {
    const rate = this.picturesPerSecond;
    const begun = this.#made - this.#finished;
    return rate === 0 ? undefined : Math.max(0, this.#left - begun) / rate;
  }

  get #made(): number {
    return this.#begun.values().reduce((sum, share) => sum + share, this.#finished);
  }
}
