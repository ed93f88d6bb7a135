import { z } from "zod";
import type { Action, Cell, ModuleDescription } from "./cells.ts";
import {
  attentionOverrideSchema,
  attentionSchema,
  type ModuleSettings,
  mlpOverrideSchema,
  mlpSchema,
  type Plan,
  type Policy,
  type RunShape,
} from "./policy.ts";

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
  /** Layers from..to-1 with settings of their own; of several that hold a layer the last counts. */
  layers: z
    .array(
      z.strictObject({
        from: z.int().min(0),
        to: z.int().min(1),
        attention: attentionOverrideSchema.optional(),
        mlp: mlpOverrideSchema.optional(),
      }),
    )
    .default([]),
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
type ParsedSettings = z.output<typeof columnPolicySchema>;

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

class ColumnPlan implements Plan {
  readonly isStatic = true;
  readonly maySkip: boolean;
  readonly skipForecast: number;
  readonly blockRanges = [];
  readonly signals = [];
  readonly #denseLayers: number;
  readonly #runs: readonly boolean[];
  readonly #actions: { attention: readonly Action[]; mlp: readonly Action[] };
  readonly #settings: readonly { attention: ModuleSettings; mlp: ModuleSettings }[];

  constructor(settings: ParsedSettings, { steps, modules }: RunShape) {
    const { attention, mlp, skip, denseLayers } = settings;
    this.#denseLayers = denseLayers;
    this.skipForecast = skip?.forecast ?? 0;
    this.#runs = Array.from({ length: steps }, (_, step) => {
      if (!skip || step < skip.from || step >= steps - skip.until) return true;
      return (step - skip.from) % skip.every !== skip.every - 1;
    });
    this.maySkip = this.#runs.includes(false);
    this.#actions = {
      attention: schedule(this.#runs, attention?.refresh),
      mlp: schedule(this.#runs, mlp?.refresh),
    };
    const layers = modules.reduce((most, { layer }) => Math.max(most, layer + 1), 0);
    this.#settings = Array.from({ length: layers }, (_, layer) => settingsOf(settings, layer));
  }

  stepAction(step: number) {
    return this.#runs[step] === false ? ("skip" as const) : ("run" as const);
  }

  action({ step, layer, module }: Cell): Action {
    if (layer < this.#denseLayers || !isColumnar(module)) return "dense";
    return this.#actions[module][step] ?? "dense";
  }

  settings({ layer, module }: Cell): ModuleSettings {
    const settings = this.#settings[layer];
    if (!settings || !isColumnar(module))
      throw new RangeError(`Layer ${layer} has no deltas of "${module}".`);
    return settings[module];
  }

  mayDelta({ layer, id }: ModuleDescription): boolean {
    if (layer < this.#denseLayers || !isColumnar(id)) return false;
    return this.#actions[id].some((action) => action !== "dense");
  }

  mayReuse(): boolean {
    return false;
  }
}

/** Modules with columns to choose from; their ids are their kinds. */
function isColumnar(module: string): module is "attention" | "mlp" {
  return module === "attention" || module === "mlp";
}

const everything = { select: { kind: "topK", density: 1 } } as const;

function settingsOf(
  { attention, mlp, layers }: ParsedSettings,
  layer: number,
): { attention: ModuleSettings; mlp: ModuleSettings } {
  const own = layers.findLast(({ from, to }) => layer >= from && layer < to);
  const { refresh: _, ...attentionBase } = attention ?? {
    ...attentionSchema.parse(everything),
    refresh: null,
  };
  const { refresh: __, ...mlpBase } = mlp ?? { ...mlpSchema.parse(everything), refresh: null };
  return {
    attention: { kind: "attention", ...attentionBase, ...defined(own?.attention) },
    mlp: { kind: "mlp", ...mlpBase, ...defined(own?.mlp) },
  };
}

/** Without what is undefined, so that it overrides nothing. */
function defined<T extends object>(overrides: T | undefined): { [Key in keyof T]?: NonNullable<T[Key]> } {
  const entries = Object.entries(overrides ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof T]?: NonNullable<T[Key]> };
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
