import type { DeviceTensor } from "../../ffi/index.ts";
import { type ColumnMask, type Ops, packedMaskBytes, type SelectionRules } from "../nn/index.ts";
import type { CountSlot, MaskCounts } from "./counts.ts";
import { mostColumns } from "./densities.ts";
import type { Selector } from "./policy.ts";

const ALL_COLUMNS = -1;
/** Columns that an index of 16 bits can name. */
const SHORT_COLUMNS = 65_536;

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

/** A mask's lists as the kernels read them; disposed, a mask that is kept packed has them no more. */
export interface MaskLists extends ColumnMask, Disposable {}

/**
 * The columns each group recomputes, on the device, with what was delivered of them. Lists are kept as 16-bit indices;
 * of more columns than these can name, as gap codes (a byte a column), expanded only where they are used.
 */
export class Mask implements Disposable {
  readonly shape: MaskShape;
  readonly countSlot: CountSlot;
  readonly capacity: number;
  readonly #ops: Ops;
  /** U16 indices [batch, lists, groups, capacity], or U8 codes [batch, lists, groups, bytes]. */
  readonly #kept: DeviceTensor;
  readonly #always: DeviceTensor | null;
  readonly #denseGroups: DeviceTensor | null;

  /** Bytes on the device, without counts. */
  static bytes({ shape, capacity, hasAlways, hasDenseGroups }: MaskLayout): number {
    const groups = groupCount(shape);
    const { width, dtype } = keptLists(shape, capacity);
    return (
      shape.batch * shape.lists * groups * width * (dtype === "u8" ? 1 : 2) +
      (hasAlways ? shape.columns : 0) +
      (hasDenseGroups ? groups : 0)
    );
  }

  constructor(
    ops: Ops,
    counts: MaskCounts,
    { shape, capacity, hasAlways, hasDenseGroups }: MaskLayout,
    fixed: FixedChoice = {},
  ) {
    const { batch, lists, columns } = shape;
    const groups = groupCount(shape);
    const { width, dtype } = keptLists(shape, capacity);
    this.shape = shape;
    this.capacity = capacity;
    this.#ops = ops;
    this.#kept = ops.memory.persistent([batch, lists, groups, width], dtype);
    this.countSlot = counts.take([batch, lists, groups]);
    this.#always = hasAlways ? ops.memory.persistent([columns], "u8") : null;
    this.#denseGroups = hasDenseGroups ? ops.memory.persistent([groups], "u8") : null;
    if (this.#always) ops.stream.write(this.#always, fixed.always ?? new Uint8Array(columns));
    if (this.#denseGroups) ops.stream.write(this.#denseGroups, fixed.denseGroups ?? new Uint8Array(groups));
  }

  /** The lists as they were last chosen, for work queued on the stream of `ops`. */
  lists(ops: Ops): MaskLists {
    const lists = this.#room(ops);
    if (this.#isPacked) ops.maskUnpack(this.#kept, lists);
    return lists;
  }

  /**
   * Other columns that are chosen whatever their scores, from the next choice on. Written in the main stream's order, so
   * the last choice must be behind it.
   */
  setAlways(always: Uint8Array): void {
    if (this.#always) this.#ops.stream.write(this.#always, always);
  }

  /** Chooses anew, on the stream of `ops`; the caller disposes the lists. */
  select(ops: Ops, scores: DeviceTensor, selector: Selector): MaskLists {
    const { columns } = this.shape;
    const lists = this.#room(ops);
    const rules: SelectionRules = { always: this.#always, denseGroups: this.#denseGroups };
    const maximum = mostColumns(selector, columns);
    switch (selector.kind) {
      case "topK":
        ops.selectTopK(scores, maximum, rules, lists);
        break;
      case "mass": {
        const minimum = Math.ceil(selector.minDensity * columns);
        ops.selectMass(scores, { mass: selector.mass, minimum, maximum }, rules, lists);
        break;
      }
      case "threshold":
        ops.selectThreshold(scores, { z: selector.z, maximum }, rules, lists);
        break;
    }
    if (this.#isPacked) ops.maskPack(lists, columns, this.#kept);
    return lists;
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
    using chosen = this.lists(this.#ops);
    const { indices } = chosen;
    const raw = this.#ops.stream.read(
      indices,
      indices.dtype === "u16" ? new Uint16Array(indices.elements) : new Int32Array(indices.elements),
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
    this.#kept[Symbol.dispose]();
    this.#always?.[Symbol.dispose]();
    this.#denseGroups?.[Symbol.dispose]();
  }

  get #isPacked(): boolean {
    return this.#kept.dtype === "u8";
  }

  /** Where lists are written: the kept ones, or, where these are packed, a temporary that masks of one size share. */
  #room(ops: Ops): MaskLists {
    const counts = this.countSlot.tensor;
    if (!this.#isPacked) return { indices: this.#kept, counts, [Symbol.dispose]() {} };
    const indices = ops.memory.temporary([...counts.shape, this.capacity], "i32");
    return { indices, counts, [Symbol.dispose]: () => indices[Symbol.dispose]() };
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

/** Elements a list is kept in. */
function keptLists({ columns }: MaskShape, capacity: number): { width: number; dtype: "u8" | "u16" } {
  return columns <= SHORT_COLUMNS
    ? { width: capacity, dtype: "u16" }
    : { width: packedMaskBytes(capacity, columns), dtype: "u8" };
}
