import { TamiasError } from "../../ffi/errors.ts";
import type { Backend, DeviceInfo, DType } from "../../ffi/index.ts";
import {
  type AttentionDescription,
  type Cell,
  denseOperations,
  type MlpDescription,
  type ModuleDescription,
} from "./cells.ts";
import type { CostModel } from "./cost-model.ts";
import { expectedDensity, mostColumns } from "./densities.ts";
import { type HeadSettings, headSettings } from "./head-ranges.ts";
import { groupCount, type MaskLayout, type MaskShape } from "./mask.ts";
import type { CachePlace, Placement } from "./cache-place.ts";
import type { AttentionSettings, MlpSettings, Plan, RunShape } from "./policy.ts";
import { TextTokens } from "./text-tokens.ts";

/** The device properties that sizes follow from. */
export type DeviceShape = Pick<DeviceInfo, "backend" | "queryGroup" | "tokenGroup">;

/** The attention cache of neighbouring heads from..to-1 of a layer. */
export interface AttentionCacheLayout {
  readonly from: number;
  readonly to: number;
  readonly mask: MaskLayout;
  readonly headDim: number;
  readonly rule: "none" | "control" | "lse";
  /** Whether the cache of the refresh before is kept too, for forecasts. */
  readonly keepsEarlier: boolean;
  readonly activationType: DType;
}

export interface MlpCacheLayout {
  readonly mask: MaskLayout;
  readonly outputs: number;
  readonly choosesAhead: boolean;
  readonly activationType: DType;
}

/** What one module keeps from step to step in one branch. */
export interface ModuleLayout {
  readonly branch: number;
  readonly module: ModuleDescription;
  /** Where its delta cache lies. */
  readonly place: CachePlace;
  /** One a range of heads; empty where attention never runs a delta. */
  readonly attention: readonly AttentionCacheLayout[];
  readonly mlp: MlpCacheLayout | undefined;
  /** Shape of the kept output, or residual of a range of blocks; undefined where nothing is reused. */
  readonly kept: readonly number[] | undefined;
}

/** @returns what a run may keep from step to step, by branch and module, as its plan and the cost model have it */
export function layOutCaches(
  plan: Plan,
  shape: RunShape,
  device: DeviceShape,
  costModel: CostModel,
  placement?: Placement,
): readonly ModuleLayout[] {
  const { branches, modules, batch = 1 } = shape;
  const context: Context = { plan, shape, device, costModel, batch, text: new TextTokens(shape) };
  return Array.from({ length: branches }, (_, branch) =>
    modules.map((module) =>
      layOutModule(context, branch, module, placement?.placeOf(branch, module) ?? "device"),
    ),
  ).flat();
}

function layOutModule(
  context: Context,
  branch: number,
  module: ModuleDescription,
  place: CachePlace,
): ModuleLayout {
  const { plan } = context;
  const kept = keptShape(context, module);
  const mayDelta = module.kind !== "block" && place !== "none" && plan.mayDelta(module);
  return {
    branch,
    module,
    place,
    attention: mayDelta && module.kind === "attention" ? layOutAttention(context, branch, module) : [],
    mlp: mayDelta && module.kind === "mlp" ? layOutMlp(context, branch, module) : undefined,
    kept,
  };
}

export function activationTypeOf(backend: Backend): DType {
  return backend === "cuda" ? "bf16" : "f32";
}

interface Context {
  readonly plan: Plan;
  readonly shape: RunShape;
  readonly device: DeviceShape;
  readonly costModel: CostModel;
  readonly batch: number;
  readonly text: TextTokens;
}

function keptShape({ plan, batch }: Context, module: ModuleDescription): readonly number[] | undefined {
  const isCell = module.kind !== "block" || plan.blockRanges.some(({ from }) => from === module.layer);
  if (!isCell || !plan.mayReuse(module)) return undefined;
  switch (module.kind) {
    case "attention":
    case "cross":
      return [batch, module.heads, module.queries, module.headDim];
    case "mlp":
      return [batch, module.tokens, module.outputs];
    case "block":
      return [batch, module.tokens, module.width];
  }
}

/** Each different setting that a module has in the steps of a run. */
function settingsOf<Kind extends "attention" | "mlp">(
  { plan, shape }: Context,
  kind: Kind,
  branch: number,
  { layer, id }: ModuleDescription,
) {
  const all = new Set<Extract<ReturnType<Plan["settings"]>, { kind: Kind }>>();
  for (let step = 0; step < shape.steps; step++)
    all.add(settingsFor(plan, kind, { step, branch, layer, module: id }));
  return [...all];
}

/** @throws TamiasError `internal` when the plan answers with settings of another kind of module */
export function settingsFor<Kind extends "attention" | "mlp">(plan: Plan, kind: Kind, cell: Cell) {
  const settings = plan.settings(cell);
  if (settings.kind !== kind)
    throw new TamiasError(
      "internal",
      `Layer ${cell.layer}: "${cell.module}" got settings of ${settings.kind}.`,
    );
  return settings as Extract<ReturnType<Plan["settings"]>, { kind: Kind }>;
}

function layOutAttention(
  context: Context,
  branch: number,
  module: AttentionDescription,
): readonly AttentionCacheLayout[] {
  const { device, batch, text } = context;
  const settings = settingsOf(context, "attention", branch, module);
  const [first] = settings;
  if (!first) return [];
  const group = first.group ?? device.queryGroup;
  const ranges = settings.map((one) => headSettings(one, module));
  for (const [index, other] of settings.entries())
    if (
      (other.group ?? device.queryGroup) !== group ||
      ranges[index]!.length !== ranges[0]!.length ||
      ranges[index]!.some(({ from, to, cache }, at) => {
        const same = ranges[0]![at]!;
        return from !== same.from || to !== same.to || cache.rule !== same.cache.rule;
      })
    )
      throw changing(module);
  return ranges[0]!.flatMap((range, at): AttentionCacheLayout[] => {
    const shape: MaskShape = {
      batch,
      lists: range.to - range.from,
      rows: module.queries,
      group,
      columns: module.keys,
    };
    const offers = settings.map((one, index) =>
      attentionOffer(module, one, ranges[index]![at]!, text, shape),
    );
    if (!offers.some((offer) => context.costModel.attentionDeltaPays(offer))) return [];
    const always = settings.map(
      ({ textKeys, randomDensity }) =>
        (textKeys === "always" ? text.keys : 0) + Math.ceil(randomDensity * module.keys),
    );
    return [
      {
        from: range.from,
        to: range.to,
        mask: {
          shape,
          capacity: capacityOf(
            shape.columns,
            ...always,
            ...settings.map((one, index) =>
              mostColumns(
                withTextKeys(ranges[index]![at]!.select, alwaysText(one, text), module.keys),
                module.keys,
              ),
            ),
          ),
          hasAlways: always.some((count) => count > 0),
          hasDenseGroups: true,
        },
        headDim: module.headDim,
        rule: range.cache.rule,
        keepsEarlier: range.cache.rule === "control" && settings.some(({ forecast }) => forecast > 0),
        activationType: activationTypeOf(device.backend),
      },
    ];
  });
}

/** What a delta of a range of heads offers, as its settings have it. */
export function attentionOffer(
  module: AttentionDescription,
  settings: AttentionSettings,
  { from, to, select }: HeadSettings,
  text: TextTokens,
  shape: MaskShape,
  delivered?: number,
) {
  const operations = denseOperations(module, shape.batch) * ((to - from) / module.heads);
  if (delivered !== undefined) return { operations, density: delivered };
  const chosen = expectedDensity(withTextKeys(select, alwaysText(settings, text), module.keys));
  const textGroups = text.markGroups(shape.rows, shape.group).reduce((sum, isText) => sum + isText, 0);
  const dense = Math.min(1, (textGroups * shape.group) / Math.max(1, shape.rows));
  return { operations, density: dense + (1 - dense) * chosen };
}

/** Text keys that are chosen besides the selector's share. */
export function alwaysText({ textKeys }: AttentionSettings, text: TextTokens): number {
  return textKeys === "always" ? text.keys : 0;
}

/** A selector's share is of image keys; text keys, which are always chosen, come on top. */
export function withTextKeys(
  selector: AttentionSettings["select"],
  textKeys: number,
  keys: number,
): AttentionSettings["select"] {
  if (textKeys === 0) return selector;
  const widen = (density: number) => Math.min(1, (textKeys + density * (keys - textKeys)) / keys);
  if (selector.kind === "topK") return { ...selector, density: widen(selector.density) };
  return { ...selector, maxDensity: widen(selector.maxDensity) };
}

function layOutMlp(context: Context, branch: number, module: MlpDescription): MlpCacheLayout | undefined {
  const { device, batch } = context;
  const settings = settingsOf(context, "mlp", branch, module);
  const [first] = settings;
  if (!first) return undefined;
  const group = first.group ?? device.tokenGroup;
  if (settings.some((other) => (other.group ?? device.tokenGroup) !== group || other.choose !== first.choose))
    throw changing(module);
  const shape: MaskShape = { batch, lists: 1, rows: module.tokens, group, columns: module.hidden };
  const pays = settings.some((one) =>
    context.costModel.mlpDeltaPays(mlpOffer(module, one, batch), group, module.tokens),
  );
  if (!pays) return undefined;
  return {
    mask: {
      shape,
      capacity: capacityOf(
        shape.columns,
        ...settings.flatMap(({ select, randomDensity }) => [
          mostColumns(select, shape.columns),
          Math.ceil(randomDensity * shape.columns),
        ]),
      ),
      hasAlways: settings.some(({ randomDensity }) => randomDensity > 0),
      hasDenseGroups: false,
    },
    outputs: module.outputs,
    choosesAhead: first.choose === "ahead",
    activationType: activationTypeOf(device.backend),
  };
}

/** What a delta of an MLP offers, as its settings have it. */
export function mlpOffer(module: MlpDescription, { select }: MlpSettings, batch: number, delivered?: number) {
  return { operations: denseOperations(module, batch), density: delivered ?? expectedDensity(select) };
}

function capacityOf(columns: number, ...asked: readonly number[]): number {
  return Math.min(columns, Math.max(1, ...asked));
}

function changing({ layer, id }: ModuleDescription): TamiasError {
  return new TamiasError(
    "bad_input",
    `The policy changes the group, head ranges or cache rule of "${id}" in layer ${layer} within a run.`,
  );
}

/** Elements of all counts of a run's masks. */
export function countElements(layouts: readonly ModuleLayout[]): number {
  const countsOf = ({ shape }: MaskLayout) => shape.batch * shape.lists * groupCount(shape);
  return layouts.reduce(
    (sum, { attention, mlp }) =>
      sum +
      attention.reduce((inner, { mask }) => inner + countsOf(mask), 0) +
      (mlp ? countsOf(mlp.mask) * (mlp.choosesAhead ? 2 : 1) : 0),
    0,
  );
}
