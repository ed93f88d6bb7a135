import { isLast, type Message, type MessageOf } from "./messages.ts";

/** A message and the bytes that go with it, made when first asked for. */
export interface LoggedMessage {
  /** 1, 2, 3 … in one job. */
  readonly id: number;
  readonly message: Message;
  readonly payload?: () => Promise<Uint8Array>;
}

/**
 * All that a job told, for any number of readers, each at its own pace. A preview is let go when the next comes, so
 * that the log stays small however slowly it is read: a slow reader misses previews, never steps or the end.
 */
export class MessageLog {
  readonly #entries: (LoggedMessage | undefined)[] = [];
  readonly #waiting = new Set<() => void>();
  #preview: number | undefined;
  #bytes = 0;
  #ended = false;

  get ended(): boolean {
    return this.#ended;
  }

  get last(): LoggedMessage | undefined {
    return this.#entries.at(-1);
  }

  get start(): MessageOf<"start"> | undefined {
    const first = this.#entries[0]?.message;
    return first?.type === "start" ? first : undefined;
  }

  /** Memory held, about: messages as long as their JSON, and what has been made of their payloads; previews aside. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @param payload bytes, or how to make them when somebody first asks */
  append(message: Message, payload?: Uint8Array | (() => Promise<Uint8Array>)): void {
    if (this.#ended) throw new Error(`A ${message.type} message came after the end.`);
    this.#ended = isLast(message);
    if (message.type === "preview" || this.#ended) {
      if (this.#preview !== undefined) this.#entries[this.#preview] = undefined;
      this.#preview = this.#entries.length;
    }
    this.#bytes += JSON.stringify(message).length + (payload instanceof Uint8Array ? payload.length : 0);
    const get = payload instanceof Uint8Array ? () => Promise.resolve(payload) : payload;
    this.#entries.push({ id: this.#entries.length + 1, message, ...(get ? { payload: get } : {}) });
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /**
   * The first message after number `after` that is still there.
   * @returns `undefined` after the end, `"idle"` when nothing came for a while
   */
  async next(
    after: number,
    { idleSeconds, signal }: { idleSeconds: number; signal: AbortSignal },
  ): Promise<LoggedMessage | "idle" | undefined> {
    const until = performance.now() + idleSeconds * 1000;
    for (;;) {
      for (let at = after; at < this.#entries.length; at++) {
        const entry = this.#entries[at];
        if (entry) return entry;
      }
      if (this.#ended || signal.aborted) return undefined;
      const left = until - performance.now();
      if (left <= 0) return "idle";
      await this.#change(left, signal);
    }
  }

  async #change(milliseconds: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    const wake = () => resolve();
    this.#waiting.add(wake);
    signal.addEventListener("abort", wake);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(wake);
    signal.removeEventListener("abort", wake);
  }
}
