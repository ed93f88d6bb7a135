/** A seeded source of random values: the same seed and name give the same values everywhere. */
export class Random {
  #state: number;

  constructor(seed: number, name: string) {
    this.#state = Number(Bun.hash.xxHash32(name, seed >>> 0));
  }

  /** 0 <= value < 1 (mulberry32). */
  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  uniform(from: number, to: number): number {
    return from + (to - from) * this.unit();
  }

  /** A whole number, both ends included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.unit() * (to - from + 1));
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.unit())) * Math.cos(2 * Math.PI * this.unit());
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.integer(0, items.length - 1)];
    if (item === undefined) throw new Error("There is nothing to pick from.");
    return item;
  }

  shuffle<Item>(items: readonly Item[]): Item[] {
    return items
      .map((item) => ({ item, order: this.unit() }))
      .toSorted((a, b) => a.order - b.order)
      .map(({ item }) => item);
  }

  /** `count` different whole numbers from 0 to `limit` - 1, ascending. */
  subset(count: number, limit: number): number[] {
    return this.shuffle(Array.from({ length: limit }, (_, index) => index))
      .slice(0, count)
      .toSorted((a, b) => a - b);
  }
}
