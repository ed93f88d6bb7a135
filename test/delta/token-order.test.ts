import { expect, test } from "bun:test";
import { tileOrder } from "../../src/delta/token-order.ts";

test.each([
  [1, 1],
  [8, 16],
  [32, 32],
  [64, 64],
  [7, 13],
  [33, 5],
  [1, 40],
])("a %d x %d grid keeps every token once, and the inverse undoes the order", (rows, columns) => {
  const { order, inverse } = tileOrder(rows, columns);
  expect([...order].toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: rows * columns }, (_, index) => index),
  );
  order.forEach((from, to) => expect(inverse[from]).toBe(to));
});

test("a whole tile is one run of tokens", () => {
  const columns = 32;
  const { order } = tileOrder(16, columns, [8, 16]);
  const secondTile = order.slice(128, 256);
  expect(secondTile.every((token) => token % columns >= 16 && Math.floor(token / columns) < 8)).toBe(true);
});

test("inside a tile, quarters stay together", () => {
  const { order } = tileOrder(8, 8, [8, 8]);
  const quarter = order.slice(0, 16);
  expect(quarter.every((token) => token % 8 < 4 && Math.floor(token / 8) < 4)).toBe(true);
});
