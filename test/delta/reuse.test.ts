import { describe, expect, test } from "bun:test";
import type { Cell } from "../../src/delta/cells.ts";
import type { Plan } from "../../src/delta/policy.ts";
import { DeltaRun } from "../../src/delta/run.ts";
import type { Observation } from "../../src/delta/signals.ts";
import { relativeError, withOps } from "../models/with-ops.ts";
import { freeDeltas, heldBy, planOf, runBranches, runSteps, shapeFor } from "./support/plans.ts";
import { HEAD_DIM, HEADS, inputsOf, SmallNetwork, WIDTH } from "./support/small-network.ts";

/** Reuses one kind of module at odd steps. */
function reusing(module: string, own: Partial<Plan> = {}): Plan {
  return planOf({
    mayReuse: ({ id }) => id === module,
    action: (cell) => (cell.module === module && cell.step % 2 === 1 ? "reuse" : "dense"),
    ...own,
  });
}

describe.each(["attention", "cross", "mlp"])("a reused %s", (module) => {
  test("gives the output of the step before, and is asked for nothing", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 1 });
      const [first, second] = inputsOf(network, 2);
      const { outputs, reports } = runSteps(network, [first!, second!, first!], reusing(module));
      expect(outputs[0]).toEqual(network.forward(first!));
      expect(outputs[2]).toEqual(outputs[0]!);
      // Of three parts that are added to the states only the reused one is the first step's.
      const others = runSteps(network, [first!, first!], reusing(module)).outputs[1]!;
      expect(others).toEqual(outputs[0]!);
      expect(outputs[1]).not.toEqual(network.forward(second!));
      const cells = reports[1]!.cells;
      expect(cells.find((cell) => cell.module === module)).toMatchObject({ action: "reuse", density: 0 });
      expect(cells.filter((cell) => cell.module !== module).map(({ action }) => action)).toEqual([
        "dense",
        "dense",
      ]);
      expect(reports[1]!.density).toBeLessThan(1);
    }));

  test("needs one output in memory and no cache", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 1 });
      const [input] = inputsOf(network, 1);
      const plan = reusing(module);
      const held = heldBy(network, plan, [input!, input!]);
      expect(held).toBe(network.tokens * (module === "mlp" ? WIDTH : HEADS * HEAD_DIM) * 4);
    }));
});

test("a reuse of what was never computed computes it", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const [input] = inputsOf(network, 1);
    const plan = reusing("mlp", { action: () => "reuse" });
    const { outputs, reports } = runSteps(network, [input!], plan);
    expect(outputs[0]).toEqual(network.forward(input!));
    expect(reports[0]!.density).toBe(1);
  }));

test("a range of blocks is left out, and adds to the states what it added before", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops, { layers: 4 });
    const [first, second] = inputsOf(network, 2);
    const plan = reusing("block", { blockRanges: [{ from: 1, to: 3 }] });
    network.ran.length = 0;
    const { outputs, reports } = runSteps(network, [first!, first!, second!], plan);
    expect(network.ran).toEqual([0, 1, 2, 3, 0, 3, 0, 1, 2, 3]);
    expect(relativeError(outputs[1]!, outputs[0]!)).toBeLessThan(1e-6);
    expect(outputs[2]).toEqual(network.forward(second!));
    const reused = reports[1]!.cells.filter(({ action }) => action === "reuse");
    expect(reused.map(({ layer, module }) => `${layer} ${module}`)).toEqual([
      "1 block",
      "1 attention",
      "1 cross",
      "1 mlp",
      "2 attention",
      "2 cross",
      "2 mlp",
    ]);
    expect(reports[1]!.density).toBeCloseTo(0.5, 6);
    expect(reports[1]!.attentionDensity).toBeCloseTo(0.5, 6);
  }));

test("blocks that are not there cannot be reused", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const plan = reusing("block", { blockRanges: [{ from: 1, to: 5 }] });
    expect(() => runSteps(network, inputsOf(network, 1), plan)).toThrow(/blocks 1 to 4 are not among/);
  }));

test("a branch that is skipped counts as computed by none of its modules", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const plan = planOf({ maySkip: true, stepAction: (_step, branch) => (branch === 1 ? "skip" : "run") });
    using run = new DeltaRun(ops, plan, shapeFor(network, 1, { branches: 2 }));
    network.forward(inputsOf(network, 1)[0]!, run.modules({ step: 0, sigma: 1, branch: 0 }));
    run.skip({ step: 0, branch: 1 });
    using report = run.endStep();
    const { density, attentionDensity, mlpDensity, cells } = report.read();
    expect([density, attentionDensity, mlpDensity]).toEqual([0.5, 0.5, 0.5]);
    for (const { branch, action } of cells) expect(action).toBe(branch === 1 ? "reuse" : "dense");
  }));

test("branches reuse their own outputs", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops);
    const inputs = [inputsOf(network, 2, { seed: 5 }), inputsOf(network, 2, { seed: 50 })];
    const plan = reusing("mlp");
    const together = runBranches(network, inputs, plan);
    for (const [branch, own] of inputs.entries())
      expect(together.outputs.map((ofStep) => ofStep[branch]!)).toEqual(runSteps(network, own, plan).outputs);
    expect(new Set(together.reports[0]!.cells.map((cell) => cell.branch))).toEqual(new Set([0, 1]));
  }));

describe("a plan that listens", () => {
  test("hears the change of the first block before it decides about the others", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 3 });
      const [first, near, far] = [
        ...inputsOf(network, 2, { drift: 0.01 }),
        inputsOf(network, 2, { drift: 3 })[1]!,
      ];
      const heard: Observation[] = [];
      let change = 1;
      const plan = planOf({
        isStatic: false,
        signals: ["firstBlockResidual"],
        observe(observation) {
          heard.push(observation);
          change = observation.signal.relativeChange;
        },
        blockRanges: [{ from: 1, to: 3 }],
        mayReuse: ({ kind }) => kind === "block",
        action: ({ module, step }: Cell) =>
          module === "block" && step > 0 && change < 0.1 ? "reuse" : "dense",
      });
      network.ran.length = 0;
      runSteps(network, [first!, near!, far!], plan);
      expect(network.ran).toEqual([0, 1, 2, 0, 0, 1, 2]);
      expect(heard.map(({ step, branch, signal }) => [step, branch, signal.kind])).toEqual([
        [1, 0, "firstBlockResidual"],
        [2, 0, "firstBlockResidual"],
      ]);
      expect(heard[0]!.signal.relativeChange).toBeGreaterThan(0);
      expect(heard[1]!.signal.relativeChange).toBeGreaterThan(0.1);
    }));

  test("hears the modulated input, the velocity, and what a refresh found", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 1 });
      const inputs = inputsOf(network, 3, { drift: 0.2 });
      const heard: Observation[] = [];
      const base = { select: { kind: "topK", density: 0.5 }, randomDensity: 0, group: 32 } as const;
      const plan = planOf({
        isStatic: false,
        signals: ["modulatedInput", "velocity", "cacheError"],
        observe: (observation) => heard.push(observation),
        mayDelta: ({ id }) => id === "attention" || id === "mlp",
        action: ({ module }) => (module === "attention" || module === "mlp" ? "refresh" : "dense"),
        settings: ({ module }) =>
          module === "mlp"
            ? { kind: "mlp", ...base, choose: "fresh" }
            : {
                kind: "attention",
                ...base,
                cache: { rule: "control", beta: 1 },
                forecast: 0,
                textKeys: "scored",
                heads: [],
              },
      });
      const shape = shapeFor(network, 3);
      using run = new DeltaRun(ops, plan, { ...shape, costs: freeDeltas });
      for (const [step, input] of inputs.entries()) {
        const at = { step, sigma: 1 - step / 3 };
        const output = network.forward(input, run.modules(at));
        // A cell that only measures what a delta would have given is dense.
        expect(relativeError(output, network.forward(input))).toBeLessThan(1e-5);
        using velocity = ops.memory.temporary([1, network.tokens, WIDTH]);
        ops.stream.write(velocity, output);
        run.observeVelocity(at, velocity);
        using report = run.endStep();
        ops.stream.synchronize();
        report.read();
      }
      const told = heard.map(({ step, signal }) => `${step} ${signal.kind} ${signal.module ?? ""}`.trim());
      expect(told.toSorted()).toEqual(
        [1, 2].flatMap((step) => [
          `${step} cacheError attention`,
          `${step} cacheError mlp`,
          `${step} modulatedInput`,
          `${step} velocity`,
        ]),
      );
      for (const { signal } of heard) {
        expect(signal.relativeChange).toBeGreaterThan(1e-3);
        expect(signal.relativeChange).toBeLessThan(1);
      }
    }));

  test("is measured nothing that it does not want", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops);
      const plan = planOf({ isStatic: false, observe: () => expect.unreachable() });
      runSteps(network, inputsOf(network, 3), plan);
    }));
});
