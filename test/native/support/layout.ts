import type { Random } from "./random.ts";

/** Where a tensor's elements lie in a longer piece of memory. All in elements. */
export interface Placement {
  readonly stride: readonly number[];
  readonly offset: number;
  /** Elements of the whole piece: before, between and after the tensor's own. */
  readonly length: number;
}

/**
 * - `contiguous`: no gaps, but neither at the start nor at the end of its memory
 * - `rows`: contiguous rows with gaps between them
 * - `heads`: rows whose two dimensions before the last lie the other way round, as heads cut out of a projection do
 * - `aligned`, `alignedRows`: the same as the first two, but each row begins where a row of whole vectors would: the
 *   fastest kernels ask for it
 * - `strided`: any order of dimensions, gaps everywhere, the last dimension's stride is not 1
 */
export type Layout = "contiguous" | "rows" | "heads" | "aligned" | "alignedRows" | "strided";

export const rowLayouts: readonly Layout[] = ["contiguous", "rows", "heads"];
export const allLayouts: readonly Layout[] = ["contiguous", "rows", "heads", "strided"];

/** In elements: 32 bytes of the smallest dtype that kernels move in vectors. */
const ALIGNMENT = 16;

export function place(shape: readonly number[], layout: Layout, random: Random): Placement {
  const isAligned = layout === "aligned" || layout === "alignedRows";
  const margin = isAligned ? ALIGNMENT * random.integer(1, 4) : random.integer(1, 9);
  const stride = shape.map(() => 1);
  let step = layout === "strided" ? random.integer(2, 3) : 1;
  for (const [level, dimension] of innermostFirst(shape, layout, random).entries()) {
    if (level > 0) step += gap(layout, random);
    stride[dimension] = step;
    step *= Math.max(1, shape[dimension] ?? 1);
  }
  return { stride, offset: margin, length: step + 2 * margin };
}

/** Elements between one row, or plane, and the next. */
function gap(layout: Layout, random: Random): number {
  if (layout === "contiguous" || layout === "aligned") return 0;
  return layout === "alignedRows" ? ALIGNMENT * random.integer(0, 2) : random.integer(0, 5);
}

function innermostFirst(shape: readonly number[], layout: Layout, random: Random): number[] {
  const order = shape.map((_, dimension) => shape.length - 1 - dimension);
  if (layout === "strided") return random.shuffle(order);
  const [last, tokens, heads, ...rest] = order;
  if (layout === "heads" && last !== undefined && tokens !== undefined && heads !== undefined)
    return [last, heads, tokens, ...rest];
  return order;
}
