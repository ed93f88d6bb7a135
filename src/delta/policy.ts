import { z } from "zod";
import type { Action, BlockRange, Cell, ModuleDescription, StepAction } from "./cells.ts";
import type { Observation, SignalKind } from "./signals.ts";
import type { TextShape } from "./text-tokens.ts";

export type { Action, Cell, ModuleDescription, ModuleKind, StepAction } from "./cells.ts";

/** What is known of a run before it starts. */
export interface RunShape extends TextShape {
  readonly steps: number;
  /** Evaluations of the network that make one step (with guidance: two). */
  readonly branches: number;
  /** Every module of the network, in the order they run. */
  readonly modules: readonly ModuleDescription[];
  /** Pictures of one evaluation; default 1. */
  readonly batch?: number | undefined;
}

/** A policy's answer for one run. */
export interface Plan {
  /**
   * Whether every answer is settled before the run. A plan that is not static is never asked ahead of what it observes:
   * no step is queued before the one before it has been reported.
   */
  readonly isStatic: boolean;
  stepAction(step: number, branch: number): StepAction;
  action(cell: Cell): Action;
  /** How a cell's columns are chosen and remembered; asked only of modules that `mayDelta`. */
  settings(cell: Cell): ModuleSettings;
  /** Whether any cell of this module may answer `refresh` or `delta`: caches are planned only there. */
  mayDelta(module: ModuleDescription): boolean;
  /** Whether any cell of this module may answer `reuse`: its output is kept only there. */
  mayReuse(module: ModuleDescription): boolean;
  /** Whether any step may be skipped. */
  readonly maySkip: boolean;
  /** How far skipped steps follow the last change of the output: 0 repeats it, 1 continues its line. */
  readonly skipForecast: number;
  /** Ranges of blocks that may be reused as one cell each; ascending and apart. */
  readonly blockRanges: readonly BlockRange[];
  /** What the plan wants to observe; nothing else is measured. */
  readonly signals: readonly SignalKind[];
  observe?(observation: Observation): void;
}

/** A way to spend less than dense. Asking is all a policy can do: a module runs dense where delta would not be faster. */
export interface Policy {
  readonly name: string;
  /** One line for people. */
  readonly description: string;
  plan(run: RunShape): Plan;
}

const fraction = z.number().min(0).max(1);

/** Which columns are worth recomputing, from their scores. */
export const selectorSchema = z.discriminatedUnion("kind", [
  /** Exactly this fraction of all columns. */
  z.strictObject({ kind: z.literal("topK"), density: fraction }),
  /** The fewest columns that hold `mass` of the score, between two densities. */
  z.strictObject({
    kind: z.literal("mass"),
    mass: fraction,
    minDensity: fraction.default(0),
    maxDensity: fraction.default(1),
  }),
  /** Columns above mean + z * standard deviation. */
  z.strictObject({
    kind: z.literal("threshold"),
    z: z.number().min(-10).max(100),
    maxDensity: fraction.default(1),
  }),
]);
export type Selector = z.output<typeof selectorSchema>;

/** How the unchosen keys' share of the output is remembered (`docs/deltas.md`, "Attention caches"). */
export const cacheSchema = z.discriminatedUnion("rule", [
  /** cache = O - beta * O_S; beta 1 is the difference cache of Chipmunk. */
  z.strictObject({ rule: z.literal("control"), beta: z.number().min(-2).max(2).default(0.9) }),
  /** The unchosen keys as a partial softmax, merged by log-sum-exp. */
  z.strictObject({ rule: z.literal("lse") }),
  /** Nothing: only the chosen keys count. */
  z.strictObject({ rule: z.literal("none") }),
]);
export type CacheRule = z.output<typeof cacheSchema>;

/** Heads from..to-1 that differ from the others of their layer. */
export const headRangeSchema = z.strictObject({
  from: z.int().min(0),
  to: z.int().min(1),
  select: selectorSchema.optional(),
  cache: cacheSchema.optional(),
});

const groupSchema = z.int().min(1).max(4096).optional();

/** Cache and forecast default to what measured best (`docs/deltas.md`, "Measured"). */
export const attentionSchema = z.strictObject({
  select: selectorSchema,
  cache: cacheSchema.default({ rule: "control", beta: 0.9 }),
  /** How far the cache follows its change between the last two refreshes, in sigma: 0 stands still, 1 a line. */
  forecast: z.number().min(0).max(1).default(0.5),
  /** `always`: text keys are chosen besides the selector's share of image keys. `scored`: they compete like others. */
  textKeys: z.enum(["always", "scored"]).default("always"),
  /** Keys chosen at random, as a fraction of all and part of the selector's share; redrawn at each refresh. */
  randomDensity: fraction.default(0),
  /** Queries that share a mask; default: what the device prefers. */
  group: groupSchema,
  heads: z.array(headRangeSchema).default([]),
});
export type AttentionSettings = z.output<typeof attentionSchema>;

export const mlpSchema = z.strictObject({
  select: selectorSchema,
  /** `fresh`: a delta chooses from its own input. `ahead`: from the input of the step before, beside that step. */
  choose: z.enum(["fresh", "ahead"]).default("fresh"),
  /** Neurons chosen at random, as a fraction of all and part of the selector's share; redrawn at each step. */
  randomDensity: fraction.default(0),
  /** Tokens that share a mask; default: what the device prefers. */
  group: groupSchema,
});
export type MlpSettings = z.output<typeof mlpSchema>;

/**
 * Settings of one cell. Densities, beta and forecast may change from step to step; group, head ranges, cache rule and
 * `choose` of a module stay the same throughout a run.
 */
export type ModuleSettings =
  ({ readonly kind: "attention" } & AttentionSettings) | ({ readonly kind: "mlp" } & MlpSettings);

/** What a layer range of a policy may say differently. */
export const attentionOverrideSchema = z.strictObject({
  select: selectorSchema.optional(),
  cache: cacheSchema.optional(),
  group: groupSchema,
  heads: z.array(headRangeSchema).optional(),
});
export const mlpOverrideSchema = z.strictObject({ select: selectorSchema.optional(), group: groupSchema });
