import type { DeviceTensor } from "../../ffi/index.ts";
import type { ColumnMask, Ops, SelectionRules } from "../nn/index.ts";
import type { CountSlot, MaskCounts } from "./counts.ts";
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

/** Columns and groups taken whatever their scores; sizes as in `MaskShape`. */
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
  readonly #selector: Selector;
  readonly #always: DeviceTensor | null;
  readonly #denseGroups: DeviceTensor | null;

  constructor(ops: Ops, counts: MaskCounts, shape: MaskShape, selector: Selector, fixed: FixedChoice = {}) {
    const { batch, lists, columns } = shape;
    const groups = groupCount(shape);
    const alwaysCount = fixed.always?.reduce((sum, chosen) => sum + (chosen ? 1 : 0), 0) ?? 0;
    this.shape = shape;
    this.capacity = Math.min(columns, Math.max(1, alwaysCount, mostColumns(selector, columns)));
    this.#ops = ops;
    this.#selector = selector;
    this.indices = ops.memory.persistent(
      [batch, lists, groups, this.capacity],
      columns <= 65536 ? "u16" : "i32",
    );
    this.countSlot = counts.take([batch, lists, groups]);
    this.#always = fixed.always ? ops.memory.persistent([columns], "u8") : null;
    this.#denseGroups = fixed.denseGroups ? ops.memory.persistent([groups], "u8") : null;
    if (this.#always) ops.stream.write(this.#always, fixed.always!);
    if (this.#denseGroups) ops.stream.write(this.#denseGroups, fixed.denseGroups!);
  }

  get counts(): DeviceTensor {
    return this.countSlot.tensor;
  }

  /** Chooses anew, on the stream of `ops`. `always` replaces the fixed always-columns of the constructor. */
  select(ops: Ops, scores: DeviceTensor, always?: Uint8Array): void {
    const { columns } = this.shape;
    if (always && this.#always) ops.stream.write(this.#always, always);
    const rules: SelectionRules = { always: this.#always, denseGroups: this.#denseGroups };
    switch (this.#selector.kind) {
      case "topK":
        return ops.selectTopK(scores, mostColumns(this.#selector, columns), rules, this);
      case "mass": {
        const { mass, minDensity } = this.#selector;
        const range = {
          minimum: Math.ceil(minDensity * columns),
          maximum: mostColumns(this.#selector, columns),
        };
        return ops.selectMass(scores, { mass, ...range }, rules, this);
      }
      case "threshold":
        return ops.selectThreshold(
          scores,
          { z: this.#selector.z, maximum: mostColumns(this.#selector, columns) },
          rules,
          this,
        );
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

/** The most columns a selector may choose. */
function mostColumns(selector: Selector, columns: number): number {
  return Math.ceil((selector.kind === "topK" ? selector.density : selector.maxDensity) * columns);
}
