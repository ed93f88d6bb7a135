import { TamiasError } from "../../ffi/errors.ts";
import type { DeviceTensor } from "../../ffi/index.ts";
import type { Mlp, Ops, QueryKeyValue } from "../nn/index.ts";
import type { AttentionCache } from "./attention-cache.ts";
import {
  alwaysText,
  attentionOffer,
  type AttentionCacheLayout,
  mlpOffer,
  settingsFor,
  withTextKeys,
} from "./cache-layout.ts";
import {
  type Action,
  type AttentionDescription,
  type BlockRange,
  type Cell,
  denseOperations,
  type MlpDescription,
  type ModuleDescription,
} from "./cells.ts";
import type { CostModel } from "./cost-model.ts";
import type { DeliveredDensities } from "./densities.ts";
import { type HeadSettings, headSettings } from "./head-ranges.ts";
import type { MlpCache, NeuronChoice } from "./mlp-cache.ts";
import type { Modules } from "./modules.ts";
import type { AttentionSettings, Plan, RunShape } from "./policy.ts";
import { randomColumns } from "./random-columns.ts";
import type { MaskPart, QueuedCell } from "./report.ts";
import type { SignalMeter } from "./signal-meter.ts";
import type { DeltaStore, ModuleStore } from "./store.ts";
import type { TextTokens } from "./text-tokens.ts";

/** Where a run is: which step, at which sigma, for which guidance branch. */
export interface Position {
  readonly step: number;
  readonly sigma: number;
  readonly branch?: number;
}

/** What every cell of a run is decided and run with. */
export interface DispatchContext {
  readonly ops: Ops;
  readonly plan: Plan;
  readonly shape: RunShape;
  readonly text: TextTokens;
  readonly seed: number;
  readonly store: DeltaStore;
  readonly costModel: CostModel;
  readonly delivered: DeliveredDensities;
  readonly signals: SignalMeter;
  note(cell: QueuedCell): void;
}

/**
 * The modules of one branch at one step. The plan asks for actions; a delta that would not be faster runs dense, one that
 * has nothing to build on refreshes, a reuse of what was never computed computes it.
 */
export class Dispatch implements Modules {
  readonly #context: DispatchContext;
  readonly #step: number;
  readonly #sigma: number;
  readonly #branch: number;

  constructor(context: DispatchContext, { step, sigma, branch = 0 }: Position) {
    this.#context = context;
    this.#step = step;
    this.#sigma = sigma;
    this.#branch = branch;
  }

  // ---- blocks

  blocks(
    states: DeviceTensor,
    blocks: readonly (() => void)[],
    { modulatedInput }: { readonly modulatedInput?: () => DeviceTensor } = {},
  ): void {
    const { plan, signals } = this.#context;
    const at = { step: this.#step, branch: this.#branch };
    if (modulatedInput && signals.wants("modulatedInput")) {
      using input = modulatedInput();
      signals.measureNow("modulatedInput", at, input);
    }
    const run = (layer: number) => {
      if (layer > 0 || !signals.wants("firstBlockResidual")) return blocks[layer]!();
      using residual = this.#residualOf(states, blocks[layer]!);
      signals.measureNow("firstBlockResidual", at, residual);
    };
    for (let layer = 0; layer < blocks.length; layer++) {
      const range = plan.blockRanges.find(({ from }) => from === layer);
      if (!range) run(layer);
      else {
        if (range.to <= range.from || range.to > blocks.length)
          throw new TamiasError(
            "bad_input",
            `The policy's blocks ${range.from} to ${range.to - 1} are not among the network's ${blocks.length}.`,
          );
        this.#runRange(range, states, run);
        layer = range.to - 1;
      }
    }
  }

  #runRange({ from, to }: BlockRange, states: DeviceTensor, run: (layer: number) => void): void {
    const { ops, plan, shape } = this.#context;
    const { store, module } = this.#module(from, "block");
    const { kept } = store;
    if (kept && plan.action(this.#cell(module)) === "reuse") {
      ops.combine(1, states, 1, kept, states);
      this.#note(module, "reuse");
      for (const inner of shape.modules)
        if (inner.kind !== "block" && inner.layer >= from && inner.layer < to) this.#note(inner, "reuse");
      return;
    }
    const runAll = () => {
      for (let layer = from; layer < to; layer++) run(layer);
    };
    if (!store.layout.kept) return runAll();
    using residual = this.#residualOf(states, runAll);
    store.keep((into) => ops.copy(residual, into));
  }

  /** What `run` adds to the states; a temporary. */
  #residualOf(states: DeviceTensor, run: () => void): DeviceTensor {
    const { ops } = this.#context;
    using owned = new DisposableStack();
    const before = owned.use(ops.memory.temporary(states.shape));
    ops.copy(states, before);
    run();
    ops.combine(1, states, -1, before, before);
    owned.move();
    return before;
  }

  // ---- attention

  attention(layer: number, project: () => QueryKeyValue, scale: number, out: DeviceTensor): void {
    const { store, module } = this.#module(layer, "attention");
    const asked = this.#reuseOrAsked(store, module, out);
    if (asked !== "reuse") {
      const qkv = project();
      checkAttention(module, qkv, out);
      const ranges = asked === "dense" ? [] : this.#attentionRanges(store, module);
      if (ranges.length === 0) {
        this.#context.ops.attention(qkv, out, { scale });
        this.#note(module, "dense");
      } else this.#attentionDeltas(module, asked, ranges, { qkv, scale, out });
      store.keep((kept) => this.#context.ops.copy(out, kept));
    }
    this.#prefetchAfter(store);
  }

  /** The order of modules is known, so what the next delta reads from host memory is fetched beside this one. */
  #prefetchAfter(current: ModuleStore): void {
    const { plan, shape, store } = this.#context;
    const next = store.hostedAfter(current);
    if (!next) return;
    const step = this.#step + Number(next.isNextStep);
    // What a listening plan will do in the next step is not known yet.
    if (next.isNextStep && (!plan.isStatic || step >= shape.steps)) return;
    const { branch, module } = next.store.layout;
    const cell = { step, branch, layer: module.layer, module: module.id };
    if (plan.stepAction(step, branch) === "skip" || plan.action(cell) !== "delta") return;
    next.store.prefetch(settingsFor(plan, "attention", cell).forecast);
  }

  crossAttention(layer: number, project: () => QueryKeyValue, scale: number, out: DeviceTensor): void {
    const { store, module } = this.#module(layer, "cross");
    if (this.#reuseOrAsked(store, module, out) === "reuse") return;
    const qkv = project();
    checkAttention(module, qkv, out);
    this.#context.ops.attention(qkv, out, { scale });
    this.#note(module, "dense");
    store.keep((kept) => this.#context.ops.copy(out, kept));
  }

  /** The ranges of heads for which a delta is predicted to pay, with their caches. */
  #attentionRanges(store: ModuleStore, module: AttentionDescription): readonly AttentionRange[] {
    const { plan, text, costModel, delivered } = this.#context;
    if (store.layout.attention.length === 0) return [];
    const settings = settingsFor(plan, "attention", this.#cell(module));
    const heads = headSettings(settings, module);
    return store.layout.attention.flatMap((layout) => {
      const own = heads.find(({ from }) => from === layout.from);
      if (!own) throw new TamiasError("internal", `Heads from ${layout.from} were not laid out.`);
      const name = `${this.#branch}.${module.layer}.${module.id}.${layout.from}`;
      const { shape } = layout.mask;
      const offer = attentionOffer(module, settings, own, text, shape, delivered.at(name, this.#step));
      if (!costModel.attentionDeltaPays(offer)) return [];
      const cache = store.attention(layout, () => ({
        always: this.#alwaysKeys(settings, shape.columns, 0, 0),
        denseGroups: text.markGroups(shape.rows, shape.group),
      }));
      return [{ name, layout, settings, own, cache }];
    });
  }

  /** Refreshes or deltas of the ranges, dense attention of the heads beside them. */
  #attentionDeltas(
    module: AttentionDescription,
    asked: Action,
    ranges: readonly AttentionRange[],
    { qkv, scale, out }: { qkv: QueryKeyValue; scale: number; out: DeviceTensor },
  ): void {
    const { ops, signals, text } = this.#context;
    const isDelta = asked === "delta" && ranges.every(({ cache }) => cache.isFilled);
    let next = 0;
    const denseUpTo = (to: number) => {
      if (next < to) ops.attention(headsOf(qkv, next, to), out.slice(1, next, to), { scale });
    };
    for (const { layout, settings, own, cache } of ranges) {
      const { from, to } = layout;
      denseUpTo(from);
      next = to;
      const isWhole = from === 0 && to === module.heads;
      const part = isWhole ? qkv : headsOf(qkv, from, to);
      const partOut = isWhole ? out : out.slice(1, from, to);
      const cellSettings = {
        select: withTextKeys(own.select, alwaysText(settings, text), module.keys),
        cache: own.cache,
        forecast: settings.forecast,
      };
      if (isDelta) cache.delta(part, scale, this.#sigma, partOut, cellSettings);
      else {
        using predicted = this.#deltaAtRefresh(cache.isFilled, partOut, (into) =>
          cache.delta(part, scale, this.#sigma, into, cellSettings),
        );
        const always =
          settings.randomDensity > 0
            ? this.#alwaysKeys(settings, module.keys, this.#step, module.layer)
            : undefined;
        cache.refresh(part, scale, this.#sigma, partOut, cellSettings, always);
        if (predicted) signals.measureError(this.#cell(module), partOut, predicted);
      }
    }
    denseUpTo(module.heads);
    const masks = ranges.map(({ name, layout, cache }): MaskPart => {
      return { name, mask: cache.mask, share: (layout.to - layout.from) / module.heads };
    });
    this.#note(module, isDelta ? "delta" : "refresh", masks);
  }

  #alwaysKeys(
    { textKeys, randomDensity }: AttentionSettings,
    keys: number,
    step: number,
    layer: number,
  ): Uint8Array {
    const always = randomColumns(keys, randomDensity, [this.#context.seed, step, layer, 0]);
    if (textKeys === "always") this.#context.text.markKeys(always);
    return always;
  }

  // ---- MLPs

  prepareMlp(layer: number, x: DeviceTensor, mlp: Mlp): void {
    const { store, module } = this.#module(layer, "mlp");
    const asked = this.#context.plan.action(this.#cell(module));
    if (asked !== "delta") return;
    const delta = this.#mlpDelta(store, module);
    if (delta?.cache.isFilled) delta.cache.prepare(x, mlp, delta.choice);
  }

  mlp(layer: number, x: DeviceTensor, mlp: Mlp, out: DeviceTensor): void {
    const { ops, signals } = this.#context;
    const { store, module } = this.#module(layer, "mlp");
    const asked = this.#reuseOrAsked(store, module, out);
    if (asked === "reuse") return;
    checkMlp(module, x, mlp);
    const delta = asked === "dense" ? undefined : this.#mlpDelta(store, module);
    if (!delta) {
      mlp.dense(ops, x, out);
      this.#note(module, "dense");
    } else {
      const { name, cache, choice } = delta;
      const isDelta = asked === "delta" && cache.isFilled;
      if (isDelta) cache.delta(x, mlp, out, choice);
      else {
        using predicted = this.#deltaAtRefresh(cache.isFilled, out, (into) =>
          cache.delta(x, mlp, into, choice),
        );
        cache.refresh(x, mlp, out, choice);
        if (predicted) signals.measureError(this.#cell(module), out, predicted);
      }
      this.#note(module, isDelta ? "delta" : "refresh", [{ name, mask: cache.mask, share: 1 }]);
    }
    store.keep((kept) => ops.copy(out, kept));
  }

  /** The cache of an MLP and how its neurons are chosen; undefined where a delta is not predicted to pay. */
  #mlpDelta(
    store: ModuleStore,
    module: MlpDescription,
  ): { name: string; cache: MlpCache; choice: NeuronChoice } | undefined {
    const { plan, shape, seed, costModel, delivered } = this.#context;
    const layout = store.layout.mlp;
    if (!layout) return undefined;
    const { layer, id, tokens, hidden } = module;
    const settings = settingsFor(plan, "mlp", this.#cell(module));
    const name = `${this.#branch}.${layer}.${id}`;
    const offer = mlpOffer(module, settings, shape.batch ?? 1, delivered.at(name, this.#step));
    if (!costModel.mlpDeltaPays(offer, layout.mask.shape.group, tokens)) return undefined;
    const draw = () =>
      settings.randomDensity > 0
        ? randomColumns(hidden, settings.randomDensity, [seed, this.#step, layer, 1])
        : undefined;
    const cache = store.mlp(layout, () => ({ always: draw() }));
    return { name, cache, choice: { select: settings.select, draw } };
  }

  // ---- all kinds

  /** Gives the kept output where the plan asks to reuse it and there is one; otherwise says what to run instead. */
  #reuseOrAsked(store: ModuleStore, module: ModuleDescription, out: DeviceTensor): Action {
    const asked = this.#context.plan.action(this.#cell(module));
    if (asked !== "reuse") return asked;
    if (!store.kept) return "dense";
    this.#context.ops.copy(store.kept, out);
    this.#note(module, "reuse");
    return "reuse";
  }

  /** What a delta would have given at a refresh, where the plan observes that; a temporary. */
  #deltaAtRefresh(
    isFilled: boolean,
    out: DeviceTensor,
    delta: (into: DeviceTensor) => void,
  ): DeviceTensor | undefined {
    const { ops, signals } = this.#context;
    if (!isFilled || !signals.wants("cacheError")) return undefined;
    using owned = new DisposableStack();
    const predicted = owned.use(ops.memory.temporary(out.shape));
    delta(predicted);
    owned.move();
    return predicted;
  }

  #module<Id extends keyof Described>(layer: number, id: Id): { store: ModuleStore; module: Described[Id] } {
    const store = this.#context.store.module(this.#branch, layer, id);
    if (store?.layout.module.kind !== id)
      throw new TamiasError(
        "internal",
        `Branch ${this.#branch}, layer ${layer}: the network ran a module "${id}" that it did not describe.`,
      );
    return { store, module: store.layout.module as Described[Id] };
  }

  #cell({ layer, id }: ModuleDescription): Cell {
    return { step: this.#step, branch: this.#branch, layer, module: id };
  }

  #note(module: ModuleDescription, action: Action, masks: readonly MaskPart[] = []): void {
    this.#context.note({
      branch: this.#branch,
      layer: module.layer,
      module: module.id,
      kind: module.kind,
      action,
      operations: denseOperations(module, this.#context.shape.batch ?? 1),
      masks,
    });
  }
}

/** The description of the module with each id. */
interface Described {
  readonly attention: AttentionDescription;
  readonly cross: AttentionDescription;
  readonly mlp: MlpDescription;
  readonly block: ModuleDescription;
}

interface AttentionRange {
  readonly name: string;
  readonly layout: AttentionCacheLayout;
  readonly settings: AttentionSettings;
  readonly own: HeadSettings;
  readonly cache: AttentionCache;
}

function headsOf({ q, k, v }: QueryKeyValue, from: number, to: number): QueryKeyValue {
  return { q: q.slice(1, from, to), k: k.slice(1, from, to), v: v.slice(1, from, to) };
}

function checkAttention(module: AttentionDescription, { q, k }: QueryKeyValue, out: DeviceTensor): void {
  const { layer, id, heads, queries, keys, headDim } = module;
  const asked = [out.shape[1], q.shape[2], k.shape[2], out.shape[3]];
  checkSizes(`"${id}" of layer ${layer} (heads, queries, keys, headDim)`, asked, [
    heads,
    queries,
    keys,
    headDim,
  ]);
}

function checkMlp(module: MlpDescription, x: DeviceTensor, mlp: Mlp): void {
  const { layer, id, tokens, width, hidden } = module;
  const asked = [x.shape[1], x.shape[2], mlp.hidden];
  checkSizes(`"${id}" of layer ${layer} (tokens, width, hidden)`, asked, [tokens, width, hidden]);
}

function checkSizes(
  what: string,
  asked: readonly (number | undefined)[],
  described: readonly number[],
): void {
  if (asked.every((size, at) => size === described[at])) return;
  throw new TamiasError(
    "internal",
    `${what} is [${asked.join(", ")}], described as [${described.join(", ")}].`,
  );
}
