import type { DeviceTensor } from "../../ffi/index.ts";
import type { ColumnMask, Ops, SelectionRules } from "../nn/index.ts";
import type { CountSlot, MaskCounts } from "./counts.ts";
import { mostColumns } from "./densities.ts";
import type { Selector } from "./policy.ts";

const ALL_COLUMNS = -1;

/** What a mask is chosen over. */
export interface MaskShape {
  readonly batch: number;
  /** Lists a group has: heads for attention, 1 for an MLP. */
  readonly lists: number;
  /** Rows (queries or tokens), cut into groups of `group`. */
  readonly rows: number;
  readonly group: number;
  readonly columns: number;
}

/** A mask before it exists. */
export interface MaskLayout {
  readonly shape: MaskShape;
  /** Columns a list has room for. */
  readonly capacity: number;
  /** Whether some columns are chosen whatever their scores. */
  readonly hasAlways: boolean;
  /** Whether some groups choose every column. */
  readonly hasDenseGroups: boolean;
}

/** Columns and groups taken whatever their scores: U8 [columns] and U8 [groups]. */
export interface FixedChoice {
  readonly always?: Uint8Array | undefined;
  readonly denseGroups?: Uint8Array | undefined;
}

/** The columns each group recomputes, on the device, with what was delivered of them. */
export class Mask implements ColumnMask, Disposable {
  readonly shape: MaskShape;
  readonly indices: DeviceTensor;
  readonly countSlot: CountSlot;
  readonly capacity: number;
  readonly #ops: Ops;
  readonly #always: DeviceTensor | null;
  readonly #denseGroups: DeviceTensor | null;

  constructor(
    ops: Ops,
    counts: MaskCounts,
    { shape, capacity, hasAlways, hasDenseGroups }: MaskLayout,
    fixed: FixedChoice = {},
  ) {
    const { batch, lists, columns } = shape;
    const groups = groupCount(shape);
    this.shape = shape;
    this.capacity = capacity;
    this.#ops = ops;
    this.indices = ops.memory.persistent([batch, lists, groups, capacity], columns <= 65536 ? "u16" : "i32");
    this.countSlot = counts.take([batch, lists, groups]);
    this.#always = hasAlways ? ops.memory.persistent([columns], "u8") : null;
    this.#denseGroups = hasDenseGroups ? ops.memory.persistent([groups], "u8") : null;
    if (this.#always) ops.stream.write(this.#always, fixed.always ?? new Uint8Array(columns));
    if (this.#denseGroups) ops.stream.write(this.#denseGroups, fixed.denseGroups ?? new Uint8Array(groups));
  }

  get counts(): DeviceTensor {
    return this.countSlot.tensor;
  }

  /**
   * Other columns that are chosen whatever their scores, from the next choice on. Written in the main stream's order, so
   * the last choice must be behind it.
   */
  setAlways(always: Uint8Array): void {
    if (this.#always) this.#ops.stream.write(this.#always, always);
  }

  /** Chooses anew, on the stream of `ops`. */
  select(ops: Ops, scores: DeviceTensor, selector: Selector): void {
    const { columns } = this.shape;
    const rules: SelectionRules = { always: this.#always, denseGroups: this.#denseGroups };
    const maximum = mostColumns(selector, columns);
    switch (selector.kind) {
      case "topK":
        return ops.selectTopK(scores, maximum, rules, this);
      case "mass": {
        const minimum = Math.ceil(selector.minDensity * columns);
        return ops.selectMass(scores, { mass: selector.mass, minimum, maximum }, rules, this);
      }
      case "threshold":
        return ops.selectThreshold(scores, { z: selector.z, maximum }, rules, this);
    }
  }

  /** Chosen share of all rows x columns, from counts that were read back. */
  deliveredDensity(counts: Int32Array): number {
    const { columns, rows } = this.shape;
    let chosen = 0;
    this.#eachGroup(counts, (count, _list, size) => {
      chosen += (count === ALL_COLUMNS ? columns : count) * size;
    });
    return chosen / (columns * rows * this.shape.lists * this.shape.batch);
  }

  /** How many of all rows choose each column, 0..1, over lists and batch: Float32Array [columns]. Waits. */
  columnFrequency(counts: Int32Array): Float32Array {
    const { columns, rows, lists, batch } = this.shape;
    const raw = this.#ops.stream.read(
      this.indices,
      this.indices.dtype === "u16"
        ? new Uint16Array(this.indices.elements)
        : new Int32Array(this.indices.elements),
    );
    const frequency = new Float32Array(columns);
    this.#eachGroup(counts, (count, list, size) => {
      if (count === ALL_COLUMNS) for (let column = 0; column < columns; column++) frequency[column]! += size;
      else
        for (let at = list * this.capacity; at < list * this.capacity + count; at++)
          frequency[raw[at]!]! += size;
    });
    return frequency.map((sum) => sum / (rows * lists * batch));
  }

  [Symbol.dispose](): void {
    this.indices[Symbol.dispose]();
    this.#always?.[Symbol.dispose]();
    this.#denseGroups?.[Symbol.dispose]();
  }

  #eachGroup(counts: Int32Array, visit: (count: number, list: number, rowsInGroup: number) => void): void {
    const { rows, group } = this.shape;
    const groups = groupCount(this.shape);
    counts.forEach((count, list) => visit(count, list, Math.min(group, rows - (list % groups) * group)));
  }
}

export function groupCount({ rows, group }: Pick<MaskShape, "rows" | "group">): number {
  return Math.ceil(rows / group);
}
