import { expect, test } from "bun:test";
import { benchCosts, type DeltaTimes, fitAttention, fitMlp } from "../../src/bench/costs.ts";
import { CostModel, costsSchema } from "../../src/delta/cost-model.ts";

const ofDense = (dense: number, low: number, high: number): DeltaTimes => ({
  operations: dense * 1e12,
  dense,
  deltas: [low * dense, high * dense],
});

test("constants that times were made of are found again", () => {
  // gather 1.2, selection 0.05, means 0.5 / 128; the small layer takes 0.1 of its dense time more.
  const mlp = (density: number) => 1.2 * density + 0.05 + 0.5 / 128;
  const fitted = fitMlp(ofDense(2, mlp(0.15), mlp(0.5)), ofDense(0.5, mlp(0.15) + 0.1, mlp(0.5) + 0.1), 128);
  expect(fitted.gather).toBeCloseTo(1.2, 2);
  expect(fitted.selection).toBeCloseTo(0.05, 2);
  expect(fitted.overheadOperations / 0.05e12).toBeCloseTo(1, 1);
  const attention = fitAttention(ofDense(2, 0.3, 1), ofDense(0.5, 0.4, 1.1));
  expect(attention.gather).toBe(2);
  expect(attention.overheadOperations / 0.05e12).toBeCloseTo(1, 1);
});

test("noise gives no negative costs", () => {
  const odd = ofDense(1, 0.5, 0.1);
  const costs = { attention: fitAttention(odd, odd), mlp: fitMlp(odd, odd, 128) };
  expect(costsSchema.parse(costs)).toEqual(costs);
});

test("what is measured here is what the cost model takes", async () => {
  const costs = costsSchema.parse(await benchCosts({ device: "cpu", threads: 2 }));
  expect(costs.attention.gather).toBeGreaterThan(0);
  const model = new CostModel(costs);
  expect(model.attentionDeltaPays({ operations: 1e13, density: 0.01 })).toBe(true);
  expect(model.mlpDeltaPays({ operations: 1e13, density: 5 }, 128, 4096)).toBe(false);
}, 120_000);
