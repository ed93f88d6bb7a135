import { describe, expect, test } from "bun:test";
import { relativeError, withOps } from "../models/with-ops.ts";
import { deltasOf, runBranches, runSteps } from "./support/plans.ts";
import { inputsOf, SmallNetwork } from "./support/small-network.ts";

const everything = { select: { kind: "topK", density: 1 } };
const rules = [
  { rule: "control", beta: 1 },
  { rule: "control", beta: 0.9 },
  { rule: "lse" },
  { rule: "none" },
];

describe("at density 1 the delta path computes what dense does", () => {
  const cases: [string, object][] = [
    // With another beta, a share 1 - beta of the refresh's output stays in the result.
    ...rules
      .filter(({ beta = 1 }) => beta === 1)
      .map((cache): [string, object] => [
        `attention, ${JSON.stringify(cache)}`,
        { attention: { ...everything, cache, forecast: 0 } },
      ]),
    ["MLP, fresh masks", { mlp: everything }],
    ["MLP, masks chosen ahead", { mlp: { ...everything, choose: "ahead" } }],
    ["both", { attention: { ...everything, cache: rules[0] }, mlp: everything }],
  ];
  test.each(cases)("%s", (_, parts) =>
    withOps((ops) => {
      using network = new SmallNetwork(ops);
      const inputs = inputsOf(network, 4);
      const { outputs, reports } = runSteps(network, inputs, deltasOf(parts));
      const sparse = Object.keys(parts);
      for (const [step, report] of reports.entries()) {
        for (const cell of report.cells) {
          const action = step === 0 ? "refresh" : "delta";
          expect(cell).toMatchObject({ action: sparse.includes(cell.module) ? action : "dense", density: 1 });
        }
        expect(relativeError(outputs[step]!, network.forward(inputs[step]!))).toBeLessThan(1e-5);
      }
    }),
  );
});

test.each(rules.slice(0, 3))("a cache of rule %j is exact while nothing moves", (cache) =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const [input] = inputsOf(network, 1);
    const still = [input!, input!, input!];
    const { outputs, reports } = runSteps(network, still, deltasOf({ attention: { cache } }));
    expect(reports[1]!.attentionDensity).toBeCloseTo(0.5, 5);
    for (const output of outputs) expect(relativeError(output, network.forward(input!))).toBeLessThan(1e-5);
  }),
);

test("a cache makes a delta better than its chosen keys alone, and a refresh mends it", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const inputs = inputsOf(network, 4);
    const errors = (cache: object) => {
      const plan = deltasOf({ attention: { cache } }, { from: 0, every: 3 });
      return runSteps(network, inputs, plan).outputs.map((output, step) =>
        relativeError(output, network.forward(inputs[step]!)),
      );
    };
    const [cached, alone] = [errors({ rule: "control", beta: 0.9 }), errors({ rule: "none" })];
    expect(cached[2]!).toBeLessThan(alone[2]! / 2);
    expect(cached[2]!).toBeGreaterThan(1e-4);
    expect(cached[3]!).toBeLessThan(1e-5);
  }));

test("an MLP delta recomputes what moved most, and what it left out stays owed", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops, { layers: 1 });
    const [first, second] = inputsOf(network, 2, { drift: 0.3 });
    const inputs = [first!, second!, second!, second!, second!, second!];
    const expected = network.forward(second!);
    const { outputs } = runSteps(network, inputs, deltasOf({ mlp: {} }));
    const errors = outputs.slice(1).map((output) => relativeError(output, expected));
    expect(errors[0]!).toBeLessThan(relativeError(outputs[0]!, expected) / 2);
    for (const [at, error] of errors.slice(1).entries())
      expect(error).toBeLessThanOrEqual(errors[at]! + 1e-6);
    expect(errors.at(-1)!).toBeLessThan(1e-5);
  }));

test("two branches keep separate state", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const steps = 4;
    const inputs = [inputsOf(network, steps, { seed: 5 }), inputsOf(network, steps, { seed: 50 })];
    const plan = deltasOf({ attention: {}, mlp: {} }, { from: 0, every: 3 });
    const apart = inputs.map((own) => runSteps(network, own, plan).outputs);
    const together = runBranches(network, inputs, plan).outputs;
    for (let step = 0; step < steps; step++)
      for (const branch of [0, 1]) expect(together[step]![branch]).toEqual(apart[branch]![step]!);
  }));

test("heads may have settings of their own, and density 1 for some is dense for them", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops, { layers: 1 });
    const inputs = inputsOf(network, 3);
    const alike = runSteps(network, inputs, deltasOf({ attention: {} }));
    const split = { heads: [{ from: 1, to: 2, select: { kind: "topK", density: 0.5 } }] };
    expect(runSteps(network, inputs, deltasOf({ attention: split })).outputs).toEqual(alike.outputs);
    const uneven = { heads: [{ from: 1, to: 2, select: { kind: "topK", density: 0.25 } }] };
    const { reports } = runSteps(network, inputs, deltasOf({ attention: uneven }));
    expect(reports[2]!.attentionDensity).toBeCloseTo((0.5 + 0.25) / 2, 5);
    const overlapping = {
      heads: [
        { from: 0, to: 2 },
        { from: 1, to: 2 },
      ],
    };
    expect(() => runSteps(network, inputs, deltasOf({ attention: overlapping }))).toThrow(/heads 1 to 1/);
  }));

test("layers may have settings of their own", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const select = { kind: "topK", density: 0.25 } as const;
    const plan = {
      ...deltasOf({ attention: {}, mlp: {} }),
      layers: [{ from: 1, to: 2, attention: { select } }],
    };
    const { reports } = runSteps(network, inputsOf(network, 2), plan);
    const densities = reports[1]!.cells
      .filter(({ action }) => action === "delta")
      .map(({ density }) => density);
    expect(densities).toEqual([0.5, 0.5, 0.25, 0.5]);
  }));
