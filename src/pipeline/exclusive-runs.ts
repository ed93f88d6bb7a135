import { throwIfAborted } from "../../ffi/errors.ts";
import { TamiasError } from "../../ffi/index.ts";

/** A run that nobody has asked for its next value for so long is ended when another waits. */
const ABANDONED_SECONDS = 60;
const CHECK_MILLISECONDS = 1000;

/**
 * Lets generators of one resource run one at a time, in the order they were begun. A run whose reader has left without
 * a word, suspended between two values, is ended once another waits for its turn; closing ends all of them.
 */
export class ExclusiveRuns {
  readonly #abandonedSeconds: number;
  readonly #waiting: Turn[] = [];
  #current: Turn | undefined;
  #isClosed = false;

  constructor({ abandonedSeconds = ABANDONED_SECONDS }: { abandonedSeconds?: number } = {}) {
    this.#abandonedSeconds = abandonedSeconds;
  }

  /**
   * @param begin begins the run when its turn has come; its signal fires with the caller's, or when the run is ended
   * @throws TamiasError `aborted` by the signal or when abandoned, `disposed` by `close`
   */
  async *run<Value>(
    signal: AbortSignal | undefined,
    begin: (signal: AbortSignal) => AsyncGenerator<Value, void, void>,
  ): AsyncGenerator<Value, void, void> {
    const turn = new Turn();
    try {
      await this.#enter(turn, signal);
      const values = begin(signal ? AbortSignal.any([signal, turn.signal]) : turn.signal);
      turn.values = values;
      for (;;) {
        const next = await values.next().catch((error: unknown) => {
          throw turn.endedBy ?? error;
        });
        if (next.done) return;
        turn.suspendedSince = performance.now();
        yield next.value;
        turn.suspendedSince = undefined;
        if (turn.endedBy) throw turn.endedBy;
      }
    } finally {
      await turn.values?.return();
      this.#leave(turn);
    }
  }

  /** Ends the run there is within one of its steps, fails those that wait, and refuses later ones. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const turn of this.#waiting.splice(0)) turn.end(closedError());
    const current = this.#current;
    if (!current) return;
    await current.end(closedError());
    if (current.suspendedSince !== undefined) this.#leave(current);
    await current.left;
  }

  async #enter(turn: Turn, signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    if (this.#isClosed) throw closedError();
    if (!this.#current) {
      this.#current = turn;
      return;
    }
    this.#waiting.push(turn);
    const stop = () => turn.end(undefined);
    signal?.addEventListener("abort", stop);
    const checks = setInterval(
      () => void this.#endAbandoned(),
      Math.min(CHECK_MILLISECONDS, this.#abandonedSeconds * 1000),
    );
    try {
      await turn.come;
      if (turn.endedBy) throw turn.endedBy;
      throwIfAborted(signal);
    } finally {
      clearInterval(checks);
      signal?.removeEventListener("abort", stop);
      const at = this.#waiting.indexOf(turn);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
  }

  async #endAbandoned(): Promise<void> {
    const current = this.#current;
    if (current?.suspendedSince === undefined) return;
    if (performance.now() - current.suspendedSince < this.#abandonedSeconds * 1000) return;
    await current.end(
      new TamiasError(
        "aborted",
        `This generation was ended: another waited, and nobody asked for its next event for ${this.#abandonedSeconds} s.`,
        {
          hint: "Leave the loop with `break`, or call the iterator's `return()`, when no more events are wanted.",
        },
      ),
    );
    this.#leave(current);
  }

  #leave(turn: Turn): void {
    turn.leave();
    if (this.#current !== turn) return;
    this.#current = this.#waiting.shift();
    this.#current?.begin();
  }
}

class Turn {
  /** The run's values, once its turn has come. */
  values: AsyncGenerator<unknown, void, void> | undefined;
  /** When its last value was handed out, while nobody has asked for the next. */
  suspendedSince: number | undefined;
  readonly #come = Promise.withResolvers<void>();
  readonly #left = Promise.withResolvers<void>();
  readonly #controller = new AbortController();
  #endedBy: TamiasError | undefined;

  get come(): Promise<void> {
    return this.#come.promise;
  }

  get left(): Promise<void> {
    return this.#left.promise;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get endedBy(): TamiasError | undefined {
    return this.#endedBy;
  }

  begin(): void {
    this.#come.resolve();
  }

  leave(): void {
    this.#left.resolve();
  }

  /** Stops the wait or the run. A run that is suspended is over when this resolves. */
  async end(reason: TamiasError | undefined): Promise<void> {
    this.#endedBy ??= reason;
    this.#come.resolve();
    this.#controller.abort();
    if (this.suspendedSince !== undefined) await this.values?.return();
  }
}

function closedError(): TamiasError {
  return new TamiasError("disposed", "This model has been closed.");
}
