import type { ModuleDescription } from "../../delta/cells.ts";
import { columnPolicy, type ColumnPolicySettings } from "../../delta/column-policy.ts";
import { denseModules, type Modules } from "../../delta/modules.ts";
import { findPolicy } from "../../delta/policies/index.ts";
import type { Plan, RunShape } from "../../delta/policy.ts";
import { DeltaRun, type StepReport } from "../../delta/run.ts";
import type { TextShape } from "../../delta/text-tokens.ts";
import type { Ops } from "../../nn/index.ts";
import { hiddenShare } from "../../pipeline/hidden-share.ts";
import { Recording } from "../../pipeline/recording.ts";

/** Seconds of one evaluation of a network (or of its blocks), by what its modules do. */
export interface StepTimes {
  /** Device memory held at the end: parameters, caches, temporaries. */
  readonly bytesAllocated: number;
  readonly dense: StepTime;
  readonly refresh: StepTime;
  readonly delta: StepTime & {
    readonly density: number;
    readonly attentionDensity: number;
    readonly mlpDensity: number;
  };
  /** What the mask stream did, where there is one. */
  readonly masks?: { readonly refresh: MaskTimes; readonly delta: MaskTimes };
}

/** Work of the mask stream in one step. */
export interface MaskTimes {
  readonly seconds: number;
  /** The share of it during which the first stream worked too. */
  readonly hiddenShare: number;
  /** Cells that had to wait for it. */
  readonly late: number;
}

export interface StepTime {
  /** Device time of a step when the queue never runs dry. */
  readonly deviceSeconds: number;
  /** Time this program takes to queue a step. */
  readonly queueSeconds: number;
  /** Wall time of a step in a loop like the pipeline's: one step ahead, reports read. */
  readonly wallSeconds: number;
}

/** Steps that a plan is asked for; more than are timed. */
const STEPS = 1000;
const LONG_SECONDS = 0.5;

/**
 * Times the three kinds of step on one network.
 * @param evaluate queues one evaluation
 */
export async function timeSteps(
  ops: Ops,
  evaluate: (modules: Modules) => void,
  {
    policy,
    modules,
    text,
    maskOps,
  }: {
    policy: ColumnPolicySettings | string;
    modules: readonly ModuleDescription[];
    text: TextShape;
    /** Ops of the mask stream, for masks and caches beside the first. */
    maskOps?: Ops | undefined;
  },
): Promise<StepTimes> {
  const shape: RunShape = { steps: STEPS, branches: 1, modules, ...text };
  const plan = (typeof policy === "string" ? findPolicy(policy) : columnPolicy(policy)).plan(shape);
  const dense = await timeStep(ops, () => evaluate(denseModules(ops)));
  using run = new DeltaRun(ops, plan, { ...shape, maskOps });
  const refreshStep = refreshStepOf(plan, modules);
  const step = (at: number) => () => {
    evaluate(run.modules({ step: at, sigma: 1 }));
    return run.endStep();
  };
  for (let at = 0; at < refreshStep; at++) step(at)()[Symbol.dispose]();
  const refresh = await timeStep(ops, step(refreshStep));
  const delta = await timeStep(ops, step(refreshStep + 1));
  using report = step(refreshStep + 1)();
  await ops.stream.finished();
  const { density, attentionDensity, mlpDensity } = report.read();
  const { bytesAllocated } = ops.stream.device.info();
  const masks = maskOps
    ? {
        refresh: await timeMasks(ops, maskOps, step(refreshStep)),
        delta: await timeMasks(ops, maskOps, step(refreshStep + 1)),
      }
    : undefined;
  return {
    bytesAllocated,
    dense,
    refresh,
    delta: { ...delta, density, attentionDensity, mlpDensity },
    ...(masks ? { masks } : {}),
  };
}

async function timeMasks(ops: Ops, maskOps: Ops, queueStep: () => StepReport): Promise<MaskTimes> {
  queueStep()[Symbol.dispose]();
  await ops.stream.finished();
  maskOps.stream.synchronize();
  using recording = new Recording(ops.stream, maskOps.stream);
  using report = queueStep();
  const { compute, masks } = await recording.take();
  return {
    seconds: masks.reduce((sum, span) => sum + span.seconds, 0),
    hiddenShare: hiddenShare(masks, compute),
    late: report.read().lateMasks,
  };
}

/** The first step at which the last layer refreshes all it will reuse. */
function refreshStepOf(plan: Plan, modules: readonly ModuleDescription[]): number {
  const layer = modules.reduce((most, module) => Math.max(most, module.layer), 0);
  const action = (step: number) => plan.action({ step, branch: 0, layer, module: "attention" });
  for (let step = 0; step < 100; step++)
    if (action(step) === "refresh" && action(step + 1) === "delta") return step;
  return 0;
}

type Step = () => { read(): unknown; [Symbol.dispose](): void } | void;

async function timeStep(ops: Ops, queueStep: Step): Promise<StepTime> {
  const { stream } = ops;
  const once = async () => {
    const began = performance.now();
    const report = queueStep();
    const queued = performance.now();
    await stream.finished();
    report?.[Symbol.dispose]();
    return { queueSeconds: (queued - began) / 1000, seconds: (performance.now() - began) / 1000 };
  };
  await once();
  const first = await once();
  const steps = first.seconds > LONG_SECONDS ? 2 : 8;
  const { queueSeconds } = first;

  using start = stream.device.createEvent();
  using end = stream.device.createEvent();
  start.record(stream);
  for (let step = 0; step < steps; step++) queueStep()?.[Symbol.dispose]();
  end.record(stream);
  await stream.finished();
  const deviceSeconds = start.secondsUntil(end) / steps;

  const began = performance.now();
  let ahead = queueMarked(ops, queueStep);
  for (let step = 0; step < steps; step++) {
    using current = ahead;
    if (step + 1 < steps) ahead = queueMarked(ops, queueStep);
    await current.finish();
  }
  return { deviceSeconds, queueSeconds, wallSeconds: (performance.now() - began) / 1000 / steps };
}

function queueMarked(ops: Ops, queueStep: Step) {
  const report = queueStep();
  const mark = ops.stream.device.createEvent();
  mark.record(ops.stream);
  return {
    async finish() {
      await mark.reached();
      report?.read();
    },
    [Symbol.dispose]() {
      mark[Symbol.dispose]();
      report?.[Symbol.dispose]();
    },
  };
}
