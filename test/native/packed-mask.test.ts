import { expect } from "bun:test";
import { packedMaskBytes } from "../../src/nn/ops.ts";
import { type Bench, type Chosen, Mask, type MaskShape, nativeTests, readMask, Values } from "./support.ts";

const native = await nativeTests();

/** A list's codes: columns left out before each chosen one, 255 for as many without one. */
function codesOf(list: Chosen): number[] {
  if (list === "all") return [];
  return list.flatMap((column, place) => {
    const gap = column - (list[place - 1] ?? -1) - 1;
    return [...Array<number>(Math.floor(gap / 255)).fill(255), gap % 255];
  });
}

function expectRoundTrip(
  bench: Bench,
  shape: MaskShape,
  lists: readonly Chosen[],
  mask: Mask,
  what: string,
): void {
  const { batch, lists: heads, groups, columns } = shape;
  const bytes = packedMaskBytes(mask.capacity, columns) + bench.random.integer(0, 5);
  const packed = bench.output([batch, heads, groups, bytes], { dtype: "u8" });
  bench.call("tamias_mask_pack", mask.indices.tensor, mask.counts.tensor, columns, packed.tensor);
  const codes = packed.read();
  const POISON = 0x7f;
  lists.forEach((list, at) => {
    const own = codes.data.subarray(at * bytes, (at + 1) * bytes);
    const should = codesOf(list);
    expect([...own.subarray(0, should.length)], `${what}, list ${at}`).toEqual(should);
    expect(
      own.subarray(should.length).every((code) => code === POISON),
      `${what}, past list ${at}`,
    ).toBe(true);
  });
  const { dtype } = mask.indices.tensor;
  const indices = bench.output([batch, heads, groups, mask.capacity], { dtype });
  bench.call("tamias_mask_unpack", packed.tensor, mask.counts.tensor, indices.tensor);
  expect(readMask(indices, mask.counts), what).toEqual([...lists]);
  const written = indices.read();
  const untouched = dtype === "u16" ? 0x7f7f : 0x7f7f7f7f;
  lists.forEach((list, at) => {
    const past = (at + 1) * mask.capacity;
    const rest = written.data.subarray(past - mask.capacity + (list === "all" ? 0 : list.length), past);
    expect(
      rest.every((value) => value === untouched),
      `${what}, past the columns of list ${at}`,
    ).toBe(true);
  });
}

native.test("packed masks come back as they were, whatever the shape", (bench) => {
  const { random } = bench;
  for (const dtype of ["i32", "u16"] as const)
    for (let round = 0; round < 20; round++) {
      const shape = {
        batch: random.integer(1, 2),
        lists: random.integer(1, 3),
        groups: random.integer(1, 5),
        columns: random.pick([1, random.integer(2, 40), random.integer(200, 3000), 65_536]),
      };
      const lists = Array.from({ length: shape.batch * shape.lists * shape.groups }, (): Chosen => {
        if (random.chance(0.1)) return "all";
        const count = random.pick([0, 1, 2, random.integer(0, Math.min(400, shape.columns))]);
        return random.subset(Math.min(count, shape.columns), shape.columns);
      });
      const needed = lists.map((list) => (list === "all" ? 0 : list.length));
      const capacity = Math.max(1, ...needed) + random.integer(0, 9);
      const mask = new Mask(bench, shape, lists, { capacity, dtype, room: "chosen" });
      expectRoundTrip(bench, shape, lists, mask, `${dtype} ${JSON.stringify(shape)}`);
    }
});

native.test("packed masks: gaps about a code's most, and the last column", (bench) => {
  const columns = 119_056;
  const shape = { batch: 1, lists: 1, groups: 12, columns };
  const lists: Chosen[] = [
    [],
    [0],
    [254],
    [255],
    [256],
    [columns - 1],
    [0, 255, 256, 511, 766, 1022],
    [510, 1019, 1020, columns - 1],
    "all",
    Array.from({ length: 467 }, (_, at) => at * 255),
    Array.from({ length: 466 }, (_, at) => at * 255 + 254),
    Array.from({ length: 1000 }, (_, at) => columns - 1000 + at),
  ];
  const mask = new Mask(bench, shape, lists, { room: "chosen" });
  expectRoundTrip(bench, shape, lists, mask, "gaps");
});

native.test("packed masks: the worst list fills the bytes it may take, and no more", (bench) => {
  for (const [columns, count] of [
    [256, 1],
    [511, 2],
    [5100, 20],
    [300, 300],
  ] as const) {
    // The last columns: one long gap, all of whose codes but one are skips.
    const list = Array.from({ length: count }, (_, at) => columns - count + at);
    const shape = { batch: 1, lists: 1, groups: 1, columns };
    const mask = new Mask(bench, shape, [list], { room: "chosen" });
    expect(codesOf(list).length).toBe(packedMaskBytes(count, columns));
    expectRoundTrip(bench, shape, [list], mask, `${count} of ${columns}`);
  }
});

native.test("packed masks of a long video's lists, more than a GPU has multiprocessors", (bench) => {
  const { random } = bench;
  const shape = { batch: 1, lists: 2, groups: 3, columns: 119_056 };
  const long = Array.from({ length: 6 }, (): Chosen => {
    // Runs of neighbours between wide gaps, as masks have them.
    const list: number[] = [];
    for (let column = random.integer(0, 900); list.length < 8334; column++) {
      if (random.chance(0.02)) column += random.integer(0, 600);
      if (column >= shape.columns) break;
      list.push(column);
    }
    return list;
  });
  const mask = new Mask(bench, shape, long, { capacity: 8334, room: "chosen" });
  expectRoundTrip(bench, shape, long, mask, "long lists");

  const many = { batch: 2, lists: 13, groups: 53, columns: 700 };
  const lists = Array.from({ length: 2 * 13 * 53 }, (): Chosen => random.subset(random.integer(0, 60), 700));
  expectRoundTrip(bench, many, lists, new Mask(bench, many, lists, { room: "chosen" }), "many lists");
});

native.test(
  "a list that is not ascending, and codes that end too early, are the stream's failure",
  (bench) => {
    const { stream } = bench;
    const counts = bench.input(new Values([1, 1, 1], Float64Array.of(3)), { dtype: "i32" });
    for (const list of [
      [5, 5, 6],
      [5, 4, 6],
      [5, 6, 100],
      [-1, 2, 3],
    ]) {
      const indices = bench.input(new Values([1, 1, 1, 3], Float64Array.from(list)), { dtype: "i32" });
      const packed = bench.output([1, 1, 1, 8], { dtype: "u8" });
      bench.call("tamias_mask_pack", indices.tensor, counts.tensor, 100, packed.tensor);
      expect(() => stream.synchronize(), list.join()).toThrow(/mask/);
    }
    for (const codes of [
      [1, 2, 255, 255],
      [255, 255, 255, 255],
    ]) {
      const packed = bench.input(new Values([1, 1, 1, 4], Float64Array.from(codes)), { dtype: "u8" });
      const indices = bench.output([1, 1, 1, 3], { dtype: "i32" });
      bench.call("tamias_mask_unpack", packed.tensor, counts.tensor, indices.tensor);
      expect(() => stream.synchronize(), codes.join()).toThrow(/mask/);
      indices.read();
    }
    const far = bench.input(
      new Values([1, 1, 1, 400]).map((_, at) => (at < 398 ? 255 : 1)),
      { dtype: "u8" },
    );
    const short = bench.output([1, 1, 1, 3], { dtype: "u16" });
    bench.call("tamias_mask_unpack", far.tensor, counts.tensor, short.tensor);
    expect(() => stream.synchronize(), "beyond 16 bits").toThrow(/mask/);
  },
);
