import { errorCode, inOrder, TamiasError, throwIfAborted } from "../../ffi/errors.ts";
import { LinkedAbort } from "./linked-abort.ts";
import { untilAborted } from "./until-aborted.ts";

/** How long an iterator may be left at an event while another request waits, unless told otherwise. */
export const ABANDONED_SECONDS = 30;

/**
 * Runs requests one at a time, in the order they came. A request that is being read keeps its turn for as long as it
 * takes. One that nobody reads (its iterator is left at an event) keeps it until another request has waited for so long;
 * then it is ended, and its reader is told so if it ever comes back.
 */
export class RequestQueue {
  readonly #abandonedSeconds: number;
  /** The one that runs first, then those that wait. */
  readonly #turns: Turn[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(abandonedSeconds = ABANDONED_SECONDS) {
    this.#abandonedSeconds = abandonedSeconds;
  }

  /**
   * @param begin makes the events; called when the turn has come, its signal fires when the work is to stop
   * @throws TamiasError `aborted` when the signal fires, the queue is closed or the iterator was abandoned; `disposed`
   * when the queue was closed before; what the work throws
   */
  async *run<Event>(
    begin: (signal: AbortSignal) => AsyncGenerator<Event, void, void>,
    signal?: AbortSignal,
  ): AsyncGenerator<Event, void, void> {
    const turn = await this.#enter(signal);
    const source = begin(turn.stop.signal);
    turn.release = () => source.return();
    turn.stop.signal.addEventListener("abort", () => {
      if (turn.pausedAt !== undefined) void this.#end(turn, stoppedError());
    });
    try {
      for (;;) {
        const next = await source.next();
        if (turn.ended) throw turn.ended;
        if (next.done) return;
        this.#pause(turn);
        yield next.value;
        this.#resume(turn);
      }
    } catch (error) {
      throw turn.ended && errorCode(error) === "aborted" ? turn.ended : error;
    } finally {
      // A disposer may fail here: the turn is given up all the same.
      try {
        await source.return();
      } finally {
        this.#leave(turn);
      }
    }
  }

  /** Refuses what waits and what comes later, stops what runs, and resolves when it has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const [current, ...waiting] = this.#turns;
    for (const turn of waiting) turn.begun.reject(closedError());
    if (!current) return;
    if (current.pausedAt !== undefined) await this.#end(current, closedMeanwhile());
    else {
      current.ended ??= closedMeanwhile();
      current.stop.abort();
    }
    await current.over.promise;
  }

  async #enter(signal: AbortSignal | undefined): Promise<Turn> {
    if (this.#isClosed) throw closedError();
    throwIfAborted(signal);
    const turn = new Turn(signal);
    this.#turns.push(turn);
    if (this.#turns[0] === turn) turn.begun.resolve();
    else this.#watch();
    try {
      await (signal ? untilAborted(turn.begun.promise, signal) : turn.begun.promise);
      return turn;
    } catch (error) {
      this.#leave(turn);
      throw error;
    }
  }

  #leave(turn: Turn): void {
    const at = this.#turns.indexOf(turn);
    if (at < 0) return;
    this.#turns.splice(at, 1);
    turn.stop[Symbol.dispose]();
    turn.over.resolve();
    if (at > 0) return;
    clearTimeout(this.#timer);
    this.#turns[0]?.begun.resolve();
  }

  /** Its reader has an event and has not come back for the next. */
  #pause(turn: Turn): void {
    turn.pausedAt = performance.now();
    this.#watch();
  }

  #resume(turn: Turn): void {
    turn.pausedAt = undefined;
    clearTimeout(this.#timer);
    if (turn.ended) throw turn.ended;
  }

  /** Ends the current turn once it has been left at an event for too long, if somebody waits for it. */
  #watch(): void {
    clearTimeout(this.#timer);
    const [current, waiting] = this.#turns;
    if (!waiting || current?.pausedAt === undefined) return;
    const left = this.#abandonedSeconds * 1000 - (performance.now() - current.pausedAt);
    this.#timer = setTimeout(() => {
      if (this.#turns.length > 1) void this.#end(current, abandonedError(this.#abandonedSeconds));
    }, left);
  }

  /** Ends a turn whose reader is away. */
  async #end(turn: Turn, error: TamiasError): Promise<void> {
    if (turn.ended) return;
    turn.ended = error;
    turn.stop.abort();
    try {
      await turn.release();
    } catch (cleaning) {
      const { first, later } = inOrder(cleaning);
      turn.ended = new TamiasError(error.code, error.message, { later: [String(first), ...later] });
    } finally {
      this.#leave(turn);
    }
  }
}

/** One request's place. */
class Turn {
  readonly begun = Promise.withResolvers<void>();
  readonly over = Promise.withResolvers<void>();
  /** Stops its work; fires with its own signal too. */
  readonly stop: LinkedAbort;
  /** Since when its reader has been away, in milliseconds of `performance.now`. */
  pausedAt: number | undefined;
  /** Why it was ended. */
  ended: TamiasError | undefined;
  /** Ends its work, which is at an event. */
  release: () => Promise<unknown> = () => Promise.resolve();

  constructor(signal: AbortSignal | undefined) {
    this.stop = new LinkedAbort(signal);
    // Whoever waits hears of it.
    this.begun.promise.catch(() => {});
  }
}

function stoppedError(): TamiasError {
  return new TamiasError("aborted", "The work was stopped.");
}

function closedError(): TamiasError {
  return new TamiasError("disposed", "This model has been closed.");
}

function closedMeanwhile(): TamiasError {
  return new TamiasError("aborted", "The model was closed during the work.");
}

function abandonedError(seconds: number): TamiasError {
  return new TamiasError(
    "aborted",
    `The request was ended: its events were not taken for ${seconds} s while another request waited.`,
    { hint: "Read the events in one go, or end the iterator (leaving a `for await` loop does)." },
  );
}
