import { blockMeans } from "./reference/mlp.ts";
import { expectClose, expectEqual, Mask, nativeTests, rowLayouts, tolerance, Values } from "./support.ts";

const native = await nativeTests();

native.test("block means, with a short last block", (bench) => {
  const { random } = bench;
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 12; round++) {
      const shape = [random.integer(1, 3), random.integer(1, 150), random.integer(1, 70)];
      const [batch = 0, tokens = 0, d = 0] = shape;
      const group = random.integer(1, 200);
      const x = bench.normal(shape, { dtype, layout: random.pick(rowLayouts) });
      const out = bench.output([batch, Math.ceil(tokens / group), d]);
      bench.call("tamias_block_means", x.tensor, group, out.tensor);
      expectClose(
        out.read(),
        blockMeans(x.values, group),
        1e-5,
        `${dtype} [${shape.join(", ")}] by ${group}`,
      );
    }
});

native.test("neuron scores are changes of the means, weighted", (bench) => {
  const { random } = bench;
  for (let round = 0; round < 8; round++) {
    const shape = [random.integer(1, 3), random.integer(1, 9), random.integer(1, 300)];
    const [now, cached] = [bench.normal(shape), bench.normal(shape)];
    const norm = bench.uniform([shape[2] ?? 0], 0, 3);
    const out = bench.output(shape);
    bench.call("tamias_neuron_scores", now.tensor, cached.tensor, norm.tensor, out.tensor);
    const expected = Values.build(
      shape,
      (i = 0, j = 0, n = 0) =>
        Math.abs(now.values.at(i, j, n) - cached.values.at(i, j, n)) * norm.values.at(n),
    );
    expectClose(out.read(), expected, 1e-6, `[${shape.join(", ")}]`);
  }
});

native.test("update_chosen copies the chosen columns and no others", (bench) => {
  const { random } = bench;
  for (const dtype of ["i32", "u16"] as const)
    for (let round = 0; round < 10; round++) {
      const shape = {
        batch: random.integer(1, 3),
        lists: 1,
        groups: random.integer(1, 9),
        columns: random.integer(1, 300),
      };
      const mask = Mask.random(bench, shape, { dtype });
      const [now, cached] = [
        bench.normal([shape.batch, shape.groups, shape.columns]),
        bench.normal([shape.batch, shape.groups, shape.columns]),
      ];
      bench.call("tamias_update_chosen", now.tensor, mask.indices.tensor, mask.counts.tensor, cached.tensor);
      const expected = new Values(cached.values.shape, cached.values.data.slice());
      for (let batch = 0; batch < shape.batch; batch++)
        for (let group = 0; group < shape.groups; group++)
          for (const column of mask.at(batch, 0, group))
            expected.set(now.values.at(batch, group, column), batch, group, column);
      expectEqual(cached.read(), expected, `${JSON.stringify(shape)} ${dtype}`);
    }
});

native.test("row norms of every dtype of weights", (bench) => {
  for (const dtype of bench.weightTypes)
    for (const [rows, d] of [
      [1, 1],
      [7, 33],
      [100, 257],
    ] as const) {
      const x = bench.normal([rows, d], { dtype, layout: "rows" });
      const out = bench.output([rows]);
      bench.call("tamias_row_norms", x.tensor, out.tensor);
      const expected = Values.build([rows], (row = 0) => Math.hypot(...x.values.row(row)));
      expectClose(out.read(), expected, tolerance("f32"), `${dtype} [${rows}, ${d}]`);
    }
});
