import type { Costs } from "../../../src/delta/cost-model.ts";
import { columnPolicy, type ColumnPolicySettings } from "../../../src/delta/column-policy.ts";
import type { Plan, RunShape } from "../../../src/delta/policy.ts";
import { DeltaRun, type DeltaRunOptions, type DensityReport } from "../../../src/delta/run.ts";
import type { SmallNetwork } from "./small-network.ts";

/** A machine on which every delta pays. */
export const freeDeltas: Costs = {
  attention: { gather: 0, overheadOperations: 0 },
  mlp: { gather: 0, selection: 0, overheadOperations: 0 },
};

/** Everything dense, nothing kept, unless said otherwise. */
export function planOf(own: Partial<Plan>): Plan {
  return {
    isStatic: true,
    maySkip: false,
    skipForecast: 0,
    blockRanges: [],
    signals: [],
    stepAction: () => "run",
    action: () => "dense",
    mayDelta: () => false,
    mayReuse: () => false,
    settings: () => {
      throw new Error("This plan has no deltas.");
    },
    ...own,
  };
}

/** Refreshes at the first step, deltas after it; small groups. */
export function deltasOf(
  parts: { attention?: object | null; mlp?: object | null },
  refresh = { from: 0, every: 1000 },
): ColumnPolicySettings {
  const half = { select: { kind: "topK", density: 0.5 }, group: 32, refresh };
  const part = (own: object | null | undefined) =>
    own === null || own === undefined ? null : { ...half, ...own };
  return { attention: part(parts.attention), mlp: part(parts.mlp) } as ColumnPolicySettings;
}

export function shapeFor(network: SmallNetwork, steps: number, own: Partial<RunShape> = {}): RunShape {
  return { steps, branches: 1, modules: network.modules, textTokens: 0, ...own };
}

/** Runs a network over the inputs of consecutive steps with one branch. */
export function runSteps(
  network: SmallNetwork,
  inputs: readonly Float32Array[],
  plan: Plan | ColumnPolicySettings,
  options: Partial<DeltaRunOptions> = {},
): { outputs: Float32Array[]; reports: DensityReport[] } {
  const { outputs, reports } = runBranches(network, [inputs], plan, options);
  return { outputs: outputs.map(([only]) => only!), reports };
}

/**
 * Runs a network over the inputs of consecutive steps, one list a branch; each step is reported before the next.
 * @returns outputs by step and branch
 */
export function runBranches(
  network: SmallNetwork,
  inputs: readonly (readonly Float32Array[])[],
  plan: Plan | ColumnPolicySettings,
  options: Partial<DeltaRunOptions> = {},
): { outputs: Float32Array[][]; reports: DensityReport[] } {
  const steps = inputs[0]!.length;
  const shape = shapeFor(network, steps, { branches: inputs.length, ...options });
  const settled = "stepAction" in plan ? plan : columnPolicy(plan).plan(shape);
  using run = new DeltaRun(network.ops, settled, { ...shape, costs: freeDeltas, ...options });
  const reports: DensityReport[] = [];
  const outputs = Array.from({ length: steps }, (_, step) => {
    const sigma = 1 - step / steps;
    const ofStep = inputs.map((own, branch) =>
      network.forward(own[step]!, run.modules({ step, sigma, branch })),
    );
    using report = run.endStep();
    network.ops.stream.synchronize();
    reports.push(report.read());
    return ofStep;
  });
  return { outputs, reports };
}

/**
 * Bytes of device memory that a run over these inputs keeps from step to step.
 * @param look called while the run lives
 */
export function heldBy(
  network: SmallNetwork,
  plan: Plan | ColumnPolicySettings,
  inputs: readonly Float32Array[],
  options: Partial<DeltaRunOptions> = {},
  look = () => {},
): number {
  const { ops } = network;
  // A first run has temporaries and workspaces grow to what they need.
  runSteps(network, inputs, plan, options);
  const before = ops.memory.bytesInUse;
  const shape = shapeFor(network, inputs.length, options);
  const settled = "stepAction" in plan ? plan : columnPolicy(plan).plan(shape);
  using run = new DeltaRun(ops, settled, { ...shape, costs: freeDeltas, ...options });
  for (const [step, input] of inputs.entries()) {
    network.forward(input, run.modules({ step, sigma: 1 - step / inputs.length }));
    run.endStep()[Symbol.dispose]();
  }
  ops.stream.synchronize();
  look();
  return ops.memory.bytesInUse - before;
}
