import { tileOrder } from "../delta/token-order.ts";
import type { Grid, TokenLayout } from "../models/family.ts";

/** The order in which networks see a grid's tokens: frame by frame, each in tiles. */
export function layOutTokens(grid: Grid): TokenLayout {
  const [frames, rows, columns] = grid;
  const { order, inverse } = tileOrder(rows, columns);
  if (frames === 1) return { grid, order: { order, inverse } };
  const size = rows * columns;
  const repeated = (values: Int32Array) =>
    Int32Array.from({ length: frames * size }, (_, at) => values[at % size]! + at - (at % size));
  return { grid, order: { order: repeated(order), inverse: repeated(inverse) } };
}
