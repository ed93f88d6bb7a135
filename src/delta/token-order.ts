/** An order of a grid's tokens: `order[i]` is the raster index of the token in place i, and `inverse` undoes it. */
export interface TokenOrder {
  readonly order: Int32Array;
  readonly inverse: Int32Array;
}

/**
 * Puts the tokens of a `height` x `width` grid into tiles, so that tokens which share a mask are neighbours in the
 * picture: tiles row by row, and inside each tile sub-tiles of half its size, down to single tokens. Tiles that the
 * border cuts are smaller; every token appears once.
 * @param tile rows and columns of the largest tile, powers of two
 */
export function tileOrder(
  height: number,
  width: number,
  tile: readonly [number, number] = [8, 16],
): TokenOrder {
  const order = new Int32Array(height * width);
  let next = 0;
  const visit = (top: number, left: number, rows: number, columns: number): void => {
    if (top >= height || left >= width) return;
    if (rows === 1 && columns === 1) {
      order[next++] = top * width + left;
      return;
    }
    // Halve the longer side first, so that tiles stay near square.
    if (columns > rows) {
      visit(top, left, rows, columns / 2);
      visit(top, left + columns / 2, rows, columns / 2);
    } else {
      visit(top, left, rows / 2, columns);
      visit(top + rows / 2, left, rows / 2, columns);
    }
  };
  for (let top = 0; top < height; top += tile[0])
    for (let left = 0; left < width; left += tile[1]) visit(top, left, tile[0], tile[1]);
  return { order, inverse: invert(order) };
}

function invert(order: Int32Array): Int32Array {
  const inverse = new Int32Array(order.length);
  order.forEach((from, to) => {
    inverse[from] = to;
  });
  return inverse;
}
