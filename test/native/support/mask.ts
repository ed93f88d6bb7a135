import type { Bench } from "./bench.ts";
import type { Operand } from "./operand.ts";
import { forEachIndex, Values } from "./values.ts";

/** The columns one group recomputes: some, ascending, or every one. */
export type Chosen = readonly number[] | "all";

export interface MaskShape {
  readonly batch: number;
  readonly lists: number;
  readonly groups: number;
  readonly columns: number;
}

/** A mask on the device, and the same lists on the host. */
export class Mask {
  readonly indices: Operand;
  readonly counts: Operand;
  readonly shape: MaskShape;
  readonly #chosen: readonly Chosen[];

  /**
   * `chosen` in the order of [batch, lists, groups]. What lies past a group's count is garbage. `room` is made for every
   * column where a group has "all", or only for lists that are `chosen`.
   */
  constructor(
    bench: Bench,
    shape: MaskShape,
    chosen: readonly Chosen[],
    {
      capacity = 0,
      dtype = "i32",
      room = "all",
    }: { capacity?: number; dtype?: "i32" | "u16"; room?: "all" | "chosen" } = {},
  ) {
    const whole = room === "all" ? shape.columns : 0;
    const needed = chosen.map((list) => (list === "all" ? whole : list.length));
    const width = Math.max(1, capacity, ...needed);
    const indices = Values.build([shape.batch, shape.lists, shape.groups, width], () =>
      dtype === "u16" ? bench.random.integer(0, 65_535) : bench.random.integer(-(2 ** 31), 2 ** 31 - 1),
    );
    chosen.forEach((list, group) => {
      if (list !== "all") indices.data.set(list, group * width);
    });
    const counts = new Values(
      [shape.batch, shape.lists, shape.groups],
      Float64Array.from(chosen, (list) => (list === "all" ? -1 : list.length)),
    );
    this.indices = bench.input(indices, { dtype });
    this.counts = bench.input(counts, { dtype: "i32" });
    this.shape = shape;
    this.#chosen = chosen;
  }

  /** Random lists, among them empty ones, full ones and `all`. */
  static random(
    bench: Bench,
    shape: MaskShape,
    options?: { capacity?: number; dtype?: "i32" | "u16" },
  ): Mask {
    const { random } = bench;
    const lists = Array.from({ length: shape.batch * shape.lists * shape.groups }, (): Chosen => {
      if (random.chance(0.1)) return [];
      if (random.chance(0.1)) return "all";
      return random.subset(random.integer(0, shape.columns), shape.columns);
    });
    return new Mask(bench, shape, lists, options);
  }

  get capacity(): number {
    return this.indices.values.size(-1);
  }

  /** The columns of one group, "all" written out. */
  at(batch: number, list: number, group: number): readonly number[] {
    const chosen = this.#chosen[(batch * this.shape.lists + list) * this.shape.groups + group];
    return chosen === "all" || chosen === undefined
      ? Array.from({ length: this.shape.columns }, (_, column) => column)
      : chosen;
  }
}

/** Lists of every length that kernels tell apart: none, one, about a tile of 128, more than 1,024, all. */
export function raggedLists({ random }: Bench, { batch, lists, groups, columns }: MaskShape): Chosen[] {
  const lengths = [0, 1, 31, 32, 33, 127, 128, 129, 192, 255, 300, 1024, 1025, 1150].filter(
    (k) => k <= columns,
  );
  return Array.from({ length: batch * lists * groups }, (): Chosen => {
    if (random.chance(0.05)) return "all";
    return random.subset(random.chance(0.3) ? random.integer(0, columns) : random.pick(lengths), columns);
  });
}

/** The lists a selection wrote, in the order of [batch, lists, groups]. */
export function readMask(indices: Operand, counts: Operand): Chosen[] {
  const written = indices.read();
  const lengths = counts.read();
  const lists: Chosen[] = [];
  forEachIndex(lengths.shape, (index, position) => {
    const count = lengths.data[position] ?? NaN;
    lists.push(count === -1 ? "all" : [...written.row(...index).subarray(0, count)]);
  });
  return lists;
}
