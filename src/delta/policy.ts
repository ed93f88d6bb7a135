import { z } from "zod";

/**
 * What one module of one layer does at one step (`docs/deltas.md`):
 * - `dense`: everything, nothing remembered
 * - `refresh`: everything, and a new mask and cache
 * - `delta`: the chosen columns only, merged with the cache
 * - `reuse`: nothing, the cached output stands
 */
export type Action = "dense" | "refresh" | "delta" | "reuse";

export type ModuleKind = "attention" | "mlp";

/** One module of one layer at one step, the unit a plan decides about. */
export interface Cell {
  readonly step: number;
  readonly layer: number;
  readonly module: ModuleKind;
}

/** What a policy may know of a run before it starts. */
export interface RunShape {
  readonly steps: number;
  readonly layers: number;
}

/** What a whole step does: `run` the network, or `skip` it and carry its last output on. */
export type StepAction = "run" | "skip";

/** A policy's answer for one run. */
export interface Plan {
  stepAction(step: number): StepAction;
  action(cell: Cell): Action;
  readonly attention: AttentionSettings;
  readonly mlp: MlpSettings;
  /** Whether any cell may answer `reuse`; outputs are kept only then. */
  readonly reuses: boolean;
  /** How far skipped steps follow the last change of the velocity: 0 repeats it, 1 continues its line. */
  readonly skipForecast: number;
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
  group: z.int().min(1).max(4096).optional(),
});
export type AttentionSettings = z.output<typeof attentionSchema>;

export const mlpSchema = z.strictObject({
  select: selectorSchema,
  /** `fresh`: a delta chooses from its own input. `ahead`: from the input of the step before, beside that step. */
  choose: z.enum(["fresh", "ahead"]).default("fresh"),
  /** Neurons chosen at random, as a fraction of all and part of the selector's share; redrawn at each step. */
  randomDensity: fraction.default(0),
  /** Tokens that share a mask; default: what the device prefers. */
  group: z.int().min(1).max(4096).optional(),
});
export type MlpSettings = z.output<typeof mlpSchema>;
