/** Messages in the order they came, for one reader. */
export class Mailbox<Message> {
  readonly #messages: Message[] = [];
  #reader: ((message: Message) => void) | undefined;

  /** Messages that nobody has taken yet. */
  get length(): number {
    return this.#messages.length;
  }

  put(message: Message): void {
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader) reader(message);
    else this.#messages.push(message);
  }

  next(): Promise<Message> {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift()!);
    return new Promise((resolve) => {
      this.#reader = resolve;
    });
  }
}
