import { describe, expect, test } from "bun:test";
import { CostModel, costsSchema, defaultCosts, readCosts } from "../../src/delta/cost-model.ts";
import { DeliveredDensities, expectedDensity } from "../../src/delta/densities.ts";
import { withOps } from "../models/with-ops.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { deltasOf, freeDeltas, runSteps } from "./support/plans.ts";
import { inputsOf, SmallNetwork } from "./support/small-network.ts";

test("a delta pays below the density at which its gathered columns cost what dense costs", () => {
  const model = new CostModel({
    attention: { gather: 1.25, overheadOperations: 1e6 },
    mlp: { gather: 1.25, selection: 0.1, overheadOperations: 0 },
  });
  const large = { operations: 1e12 };
  expect(model.attentionDeltaPays({ ...large, density: 0.79 })).toBe(true);
  expect(model.attentionDeltaPays({ ...large, density: 0.81 })).toBe(false);
  expect(model.attentionDeltaPays({ operations: 0.9e6, density: 0.1 })).toBe(false);
  expect(model.mlpDeltaPays({ ...large, density: 0.7 }, 128, 4096)).toBe(true);
  expect(model.mlpDeltaPays({ ...large, density: 0.73 }, 128, 4096)).toBe(false);
  // Means of a group of one token cost fc1 itself.
  expect(model.mlpDeltaPays({ ...large, density: 0.5 }, 1, 4096)).toBe(false);
});

test("shipped costs are valid, others are checked", () => {
  for (const costs of Object.values(defaultCosts)) expect(costsSchema.parse(costs)).toEqual(costs);
  expect(costsSchema.safeParse({ attention: { gather: -1, overheadOperations: 0 } }).success).toBe(false);
});

test("what a selector is expected to choose lies within its bounds and grows with what it is asked for", () => {
  const mass = (share: number, bounds = {}) =>
    expectedDensity({ kind: "mass", mass: share, minDensity: 0, maxDensity: 1, ...bounds });
  const threshold = (z: number) => expectedDensity({ kind: "threshold", z, maxDensity: 1 });
  expect(expectedDensity({ kind: "topK", density: 0.3 })).toBe(0.3);
  // A share f of exponential scores holds f (1 - ln f): 0.5 holds 0.8466.
  expect(mass(0.5 * (1 + Math.LN2))).toBeCloseTo(0.5, 6);
  expect(mass(0)).toBeCloseTo(0, 6);
  expect(mass(1)).toBeCloseTo(1, 5);
  expect(mass(0.9, { maxDensity: 0.4 })).toBe(0.4);
  expect(mass(0.1, { minDensity: 0.4 })).toBe(0.4);
  expect(threshold(0)).toBeCloseTo(Math.exp(-1), 6);
  expect(threshold(-3)).toBe(1);
  expect(threshold(1)).toBeLessThan(threshold(0));
});

test("a delivered density counts two steps later, read late or early", () => {
  const known = new DeliveredDensities();
  known.note("mask", 1, 0.5);
  known.note("mask", 2, 0.7);
  expect(known.at("mask", 2)).toBeUndefined();
  expect(known.at("mask", 3)).toBe(0.5);
  known.note("mask", 3, 0.9);
  expect(known.at("mask", 3)).toBe(0.5);
  expect(known.at("mask", 4)).toBe(0.7);
  expect(known.at("other", 9)).toBeUndefined();
  for (let step = 4; step < 1000; step++) known.note("mask", step, step / 1000);
  expect(known.at("mask", 1000)).toBe(0.998);
  expect(known.at("mask", 1001)).toBe(0.999);
});

describe("selectors without a fixed density", () => {
  const costs = defaultCosts.cpu;
  test.each([
    ["mass", { kind: "mass", mass: 0.8 }],
    ["threshold", { kind: "threshold", z: 0.5 }],
  ])("%s runs deltas", (_, select) =>
    withOps((ops) => {
      using network = new SmallNetwork(ops);
      const plan = deltasOf({ attention: { select }, mlp: { select } });
      const { reports } = runSteps(network, inputsOf(network, 3), plan, { costs });
      for (const { cells } of reports.slice(1))
        for (const { module, action, density } of cells)
          if (module !== "cross") {
            expect(action).toBe("delta");
            expect(density).toBeGreaterThan(0);
            expect(density).toBeLessThan(1);
          }
    }),
  );

  test("run dense once what they deliver would cost more", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 1 });
      // Attention of random queries is nearly even: to hold 88 % takes most keys, an exponential would take fewer.
      const select = { kind: "mass", mass: 0.88 };
      const inputs = inputsOf(network, 6);
      const { reports } = runSteps(network, inputs, deltasOf({ attention: { select } }), { costs });
      const attention = reports.map(({ cells }) => cells.find(({ module }) => module === "attention")!);
      expect(attention[1]!.density).toBeGreaterThan(0.8);
      expect(attention.map(({ action }) => action)).toEqual([
        "refresh",
        "delta",
        "delta",
        "dense",
        "dense",
        "dense",
      ]);
      const free = runSteps(network, inputs, deltasOf({ attention: { select } }), { costs: freeDeltas });
      expect(free.reports.slice(1).every(({ cells }) => cells[0]!.action === "delta")).toBe(true);
    }));
});

test("costs are read from a file, and what is wrong with it is said", async () => {
  await using folder = await temporaryFolder();
  const write = async (text: string) => {
    await Bun.write(`${folder.path}/costs.json`, text);
    return readCosts(`${folder.path}/costs.json`);
  };
  expect(await write(JSON.stringify({ device: "here", ...defaultCosts.cpu }))).toEqual({
    device: "here",
    ...defaultCosts.cpu,
  });
  await expect(write("{")).rejects.toThrow(/not valid JSON/);
  await expect(write(JSON.stringify({ attention: defaultCosts.cpu.attention }))).rejects.toThrow(/at "mlp"/);
  await expect(readCosts(`${folder.path}/none.json`)).rejects.toMatchObject({ code: "not_found" });
});
