/** Messages in the order they came, for one reader. */
export class Mailbox<Message> {
  readonly #messages: Message[] = [];
  #reader: ((message: Message) => void) | undefined;

  get isEmpty(): boolean {
    return this.#messages.length === 0;
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
