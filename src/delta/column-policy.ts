import { z } from "zod";
import { type Action, attentionSchema, mlpSchema, type Plan, type Policy, type RunShape } from "./policy.ts";

/** When a module refreshes: dense before `from`, then at `from` and every `every` steps. */
const scheduleSchema = z.strictObject({
  from: z.int().min(0).default(0),
  every: z.int().min(1),
});

/**
 * Settings of a policy of column deltas: which columns, how remembered, how often refreshed. The named policies are
 * such settings; users may pass their own.
 */
export const columnPolicySchema = z.strictObject({
  name: z.string().default("custom"),
  description: z.string().default("your own settings"),
  /** Layers at the start of the network that always run dense. */
  denseLayers: z.int().min(0).default(0),
  /** Attention deltas; null runs attention dense. */
  attention: z.strictObject({ ...attentionSchema.shape, refresh: scheduleSchema }).nullable(),
  /** MLP deltas; null runs MLPs dense. */
  mlp: z.strictObject({ ...mlpSchema.shape, refresh: scheduleSchema }).nullable(),
  /**
   * Whole steps to leave out: after the first `from` steps and before the last `until`, of each `every` steps the last
   * is skipped. null skips none.
   */
  skip: z
    .strictObject({
      from: z.int().min(2).default(2),
      until: z.int().min(0).default(1),
      every: z.int().min(2),
      forecast: z.number().min(0).max(1).default(1),
    })
    .nullable()
    .default(null),
});

export type ColumnPolicySettings = z.input<typeof columnPolicySchema>;

/**
 * A policy from settings.
 * @throws z.ZodError when a setting is out of range
 */
export function columnPolicy(settings: ColumnPolicySettings): Policy {
  const parsed = columnPolicySchema.parse(settings);
  return {
    name: parsed.name,
    description: parsed.description,
    plan: (run) => new ColumnPlan(parsed, run),
  };
}

const untouched = { select: { kind: "topK", density: 1 } } as const;

class ColumnPlan implements Plan {
  readonly attention: Plan["attention"];
  readonly mlp: Plan["mlp"];
  readonly reuses = false;
  readonly skipForecast: number;
  readonly #settings: z.output<typeof columnPolicySchema>;
  readonly #actions: { attention: readonly Action[]; mlp: readonly Action[] };
  readonly #runs: readonly boolean[];

  constructor(settings: z.output<typeof columnPolicySchema>, run: RunShape) {
    const { attention, mlp, skip } = settings;
    this.#settings = settings;
    this.attention = attentionSchema.parse(attention ? without(attention, "refresh") : untouched);
    this.mlp = mlpSchema.parse(mlp ? without(mlp, "refresh") : untouched);
    this.skipForecast = skip?.forecast ?? 0;
    this.#runs = Array.from({ length: run.steps }, (_, step) => {
      if (!skip || step < skip.from || step >= run.steps - skip.until) return true;
      return (step - skip.from) % skip.every !== skip.every - 1;
    });
    this.#actions = {
      attention: schedule(this.#runs, attention?.refresh),
      mlp: schedule(this.#runs, mlp?.refresh),
    };
  }

  stepAction(step: number) {
    return this.#runs[step] === false ? ("skip" as const) : ("run" as const);
  }

  action({ step, layer, module }: { step: number; layer: number; module: "attention" | "mlp" }): Action {
    if (layer < this.#settings.denseLayers) return "dense";
    return this.#actions[module][step] ?? "dense";
  }
}

/** A step that should refresh but is skipped hands its refresh to the next step that runs. */
function schedule(runs: readonly boolean[], refresh: z.output<typeof scheduleSchema> | undefined): Action[] {
  let due = false;
  return runs.map((running, step) => {
    if (!refresh || step < refresh.from) return "dense";
    if ((step - refresh.from) % refresh.every === 0) due = true;
    if (!running || !due) return "delta";
    due = false;
    return "refresh";
  });
}

function without<T extends object, Key extends keyof T>(object: T, key: Key): Omit<T, Key> {
  const { [key]: _, ...rest } = object;
  return rest;
}
