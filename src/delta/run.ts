import type { Backend, DeviceTensor, Stream } from "../../ffi/index.ts";
import type { Mlp, Ops, QueryKeyValue } from "../nn/index.ts";
import { AttentionCache } from "./attention-cache.ts";
import { type CountSlot, MaskCounts } from "./counts.ts";
import { groupCount, type MaskShape } from "./mask.ts";
import { MlpCache } from "./mlp-cache.ts";
import type { Modules } from "./modules.ts";
import { attentionDeltaPays, mlpDeltaPays } from "./never-lose.ts";
import type { Action, ModuleKind, Plan, Selector } from "./policy.ts";
import { randomColumns } from "./random-columns.ts";
import { InlineWork, OverlappedWork, type SideWork } from "./side-work.ts";

/** What one module of one layer did in a step. */
export interface CellReport {
  readonly layer: number;
  readonly module: ModuleKind;
  readonly action: Action;
  /** Share of this module's columns that was computed, 0..1, as delivered by the device. */
  readonly density: number;
  /** Share of rows that recomputed each column, [columns]; for deltas of a run that records columns. */
  readonly columnFrequency?: Float32Array;
}

export interface DensityReport {
  /** Share of the modules' multiplications that was done, 0..1. */
  readonly density: number;
  readonly attentionDensity: number;
  readonly mlpDensity: number;
  readonly cells: readonly CellReport[];
  /** Cells that had to wait for their mask; always 0 where masks are chosen in turn. */
  readonly lateMasks: number;
}

/** What a step did, still on the device. */
export interface StepReport extends Disposable {
  /** Call it once the stream has got this far. Waits for nothing else, unless columns are recorded. */
  read(): DensityReport;
}

/** Where a run is: which step, at which sigma, for which guidance branch. */
export interface Position {
  readonly step: number;
  readonly sigma: number;
  readonly branch?: number;
}

/**
 * All state of one denoising run: masks and caches by branch, layer and module, made as cells ask for them. The plan
 * asks for actions; a delta that would not be faster, or has nothing to build on, becomes dense or a refresh.
 */
export class DeltaRun implements Disposable {
  readonly #ops: Ops;
  readonly #side: SideWork;
  readonly #plan: Plan;
  readonly #textTokens: number;
  readonly #seed: number;
  readonly #recordColumns: boolean;
  readonly #attention = new Map<string, AttentionCache>();
  readonly #mlp = new Map<string, MlpCache>();
  readonly #outputs = new Map<string, DeviceTensor>();
  readonly #counts: MaskCounts;
  /** Reads what a step delivered while the next one runs. */
  readonly #reader: Stream;
  readonly #queryGroup: number;
  readonly #tokenGroup: number;
  #pending: PendingCell[] = [];

  /** @param options `sideOps`: ops of a second stream, which then chooses masks and makes caches beside the first */
  constructor(
    ops: Ops,
    plan: Plan,
    {
      textTokens,
      seed = 0,
      recordColumns = false,
      sideOps,
    }: { textTokens: number; seed?: number; recordColumns?: boolean; sideOps?: Ops | undefined },
  ) {
    this.#ops = ops;
    this.#side = sideOps ? new OverlappedWork(ops, sideOps) : new InlineWork(ops);
    this.#plan = plan;
    this.#textTokens = textTokens;
    this.#seed = seed;
    this.#recordColumns = recordColumns;
    this.#counts = new MaskCounts(ops);
    this.#reader = ops.stream.device.createStream();
    const device = ops.stream.device.info();
    this.#queryGroup = plan.attention.group ?? device.queryGroup;
    this.#tokenGroup = plan.mlp.group ?? device.tokenGroup;
  }

  /** The modules of one step, for a network's forward pass. */
  modules(position: Position): Modules {
    return {
      attention: (layer, project, scale, out) => this.#runAttention(position, layer, project, scale, out),
      prepareMlp: (layer, x, mlp) => this.#prepareMlp(position, layer, x, mlp),
      mlp: (layer, x, mlp, out) => this.#runMlp(position, layer, x, mlp, out),
    };
  }

  /** Closes a step: queues what its report needs. */
  endStep(): StepReport {
    const pending = this.#pending;
    this.#pending = [];
    const snapshot = this.#counts.snapshot();
    const waits = this.#side.takeWaits();
    return {
      read: () => {
        const countsOf = snapshot.read(this.#reader);
        const cells = pending.map((cell) => this.#reportCell(cell, countsOf));
        return { ...summarise(pending, cells), lateMasks: waits.countLate() };
      },
      [Symbol.dispose]: () => {
        snapshot[Symbol.dispose]();
        waits[Symbol.dispose]();
      },
    };
  }

  [Symbol.dispose](): void {
    // Goes through all of it, last first, whatever fails.
    using parts = new DisposableStack();
    parts.use(this.#counts);
    parts.use(this.#reader);
    for (const owned of [this.#attention, this.#mlp, this.#outputs]) {
      for (const part of owned.values()) parts.use(part);
      owned.clear();
    }
    parts.use(this.#side);
  }

  #runAttention(
    { step, sigma, branch = 0 }: Position,
    layer: number,
    project: () => QueryKeyValue,
    scale: number,
    out: DeviceTensor,
  ): void {
    const [batch = 0, heads = 0, queries = 0, headDim = 0] = out.shape;
    const settings = this.#plan.attention;
    const shape: MaskShape = {
      batch,
      lists: heads,
      rows: queries,
      group: this.#queryGroup,
      columns: queries,
    };
    const key = `${branch}.${layer}`;
    const asked = this.#plan.action({ step, layer, module: "attention" });
    const kept = this.#outputs.get(key);
    const cost = 4 * batch * heads * queries * queries * headDim;
    if (asked === "reuse" && kept) {
      this.#ops.copy(kept, out);
      this.#note(layer, "attention", "reuse", cost);
      return;
    }

    const selector = withTextKeys(
      settings.select,
      settings.textKeys === "always" ? this.#textTokens : 0,
      queries,
    );
    const existing = this.#attention.get(key);
    const density = expectedDensity(selector, shape, this.#textGroups * shape.group);
    const pays = attentionDeltaPays({ backend: this.#backend, operations: cost, density });
    if (asked === "dense" || !pays) {
      this.#ops.attention(project(), out, { scale });
      this.#note(layer, "attention", "dense", cost);
    } else {
      const cache =
        existing ??
        new AttentionCache(
          this.#ops,
          this.#side,
          this.#counts,
          settings,
          selector,
          shape,
          this.#fixedKeys(shape),
          headDim,
        );
      if (!existing) this.#attention.set(key, cache);
      // A delta, or a reuse, that has nothing to build on becomes a refresh.
      const action = asked === "delta" && cache.isFilled ? "delta" : "refresh";
      const qkv = project();
      if (action === "delta") cache.delta(qkv, scale, sigma, out);
      else cache.refresh(qkv, scale, sigma, out, this.#alwaysKeys(shape, step, layer));
      this.#note(layer, "attention", action, cost, cache.mask);
    }
    if (this.#plan.reuses) this.#keepOutput(key, out);
  }

  #prepareMlp(position: Position, layer: number, x: DeviceTensor, mlp: Mlp): void {
    const { cache, action, always } = this.#mlpCell(position, layer, x, mlp);
    if (action === "delta") cache!.prepare(x, mlp, always);
  }

  #runMlp(position: Position, layer: number, x: DeviceTensor, mlp: Mlp, out: DeviceTensor): void {
    const { cache, action, always, cost } = this.#mlpCell(position, layer, x, mlp);
    if (!cache) mlp.dense(this.#ops, x, out);
    else if (action === "refresh") cache.refresh(x, mlp, out, always);
    else if (action === "delta") cache.delta(x, mlp, out, always);
    else cache.reuse(out);
    this.#note(layer, "mlp", action, cost, cache?.mask);
  }

  /** What a layer's MLP will do, and with which cache; a dense one has none. */
  #mlpCell(
    { step, branch = 0 }: Position,
    layer: number,
    x: DeviceTensor,
    mlp: Mlp,
  ): { action: Action; cost: number; cache?: MlpCache; always: () => Uint8Array | undefined } {
    const [batch = 0, tokens = 0, width = 0] = x.shape;
    const outputs = mlp.fc2.weight.shape[0] ?? 0;
    const settings = this.#plan.mlp;
    const group = this.#tokenGroup;
    const shape: MaskShape = { batch, lists: 1, rows: tokens, group, columns: mlp.hidden };
    const key = `${branch}.${layer}`;
    const asked = this.#plan.action({ step, layer, module: "mlp" });
    const cost = 2 * batch * tokens * mlp.hidden * (width + outputs);
    const density = expectedDensity(settings.select, shape);
    const pays = mlpDeltaPays({ backend: this.#backend, operations: cost, density }, group, tokens);
    const always = () => this.#randomNeurons(shape, step, layer);
    if (asked === "dense" || !pays) return { action: "dense", cost, always };
    const existing = this.#mlp.get(key);
    const cache =
      existing ??
      new MlpCache(this.#ops, this.#side, this.#counts, settings, shape, { always: always() }, outputs);
    if (!existing) this.#mlp.set(key, cache);
    return { action: cache.isFilled ? asked : "refresh", cost, cache, always };
  }

  get #backend(): Backend {
    return this.#ops.stream.device.backend;
  }

  /** Query groups that hold text. */
  get #textGroups(): number {
    return Math.ceil(this.#textTokens / this.#queryGroup);
  }

  /** Text queries run dense; with `textKeys: "always"` text keys are in every list. */
  #fixedKeys(shape: MaskShape): { always: Uint8Array | undefined; denseGroups: Uint8Array } {
    const denseGroups = new Uint8Array(groupCount(shape));
    denseGroups.fill(1, 0, this.#textGroups);
    return { always: this.#alwaysKeys(shape, 0, 0), denseGroups };
  }

  #alwaysKeys(shape: MaskShape, step: number, layer: number): Uint8Array | undefined {
    const { textKeys, randomDensity } = this.#plan.attention;
    if (textKeys === "scored" && randomDensity === 0) return undefined;
    const always = randomColumns(shape.columns, randomDensity, [this.#seed, step, layer, 0]);
    if (textKeys === "always") always.fill(1, 0, this.#textTokens);
    return always;
  }

  #randomNeurons(shape: MaskShape, step: number, layer: number): Uint8Array | undefined {
    const { randomDensity } = this.#plan.mlp;
    return randomDensity === 0
      ? undefined
      : randomColumns(shape.columns, randomDensity, [this.#seed, step, layer, 1]);
  }

  #reportCell(
    { layer, module, action, mask }: PendingCell,
    countsOf: (slot: CountSlot) => Int32Array,
  ): CellReport {
    if (action !== "delta" || !mask) return { layer, module, action, density: action === "reuse" ? 0 : 1 };
    const counts = countsOf(mask.countSlot);
    const report = { layer, module, action, density: mask.deliveredDensity(counts) };
    return this.#recordColumns ? { ...report, columnFrequency: mask.columnFrequency(counts) } : report;
  }

  #keepOutput(key: string, out: DeviceTensor): void {
    const kept = this.#outputs.get(key) ?? this.#ops.memory.persistent(out.shape);
    this.#outputs.set(key, kept);
    this.#ops.copy(out, kept);
  }

  #note(
    layer: number,
    module: ModuleKind,
    action: Action,
    cost: number,
    mask?: AttentionCache["mask"],
  ): void {
    this.#pending.push({ layer, module, action, cost, mask });
  }
}

interface PendingCell {
  readonly layer: number;
  readonly module: ModuleKind;
  readonly action: Action;
  /** Floating-point operations of the dense module. */
  readonly cost: number;
  readonly mask: AttentionCache["mask"] | undefined;
}

/** Densities of a step, weighted by what its cells cost dense. */
function summarise(
  pending: readonly PendingCell[],
  cells: readonly CellReport[],
): Omit<DensityReport, "lateMasks"> {
  const mean = (chosen: (cell: CellReport) => boolean) => {
    let done = 0;
    let all = 0;
    cells.forEach((cell, index) => {
      if (!chosen(cell)) return;
      const cost = pending[index]?.cost ?? 0;
      all += cost;
      done += cost * cell.density;
    });
    return all === 0 ? 1 : done / all;
  };
  return {
    density: mean(() => true),
    attentionDensity: mean(({ module }) => module === "attention"),
    mlpDensity: mean(({ module }) => module === "mlp"),
    cells,
  };
}

/** A selector's share is of image keys; text keys, which are always chosen, come on top. */
function withTextKeys(selector: Selector, textTokens: number, keys: number): Selector {
  if (textTokens === 0) return selector;
  const widen = (density: number) => Math.min(1, (textTokens + density * (keys - textTokens)) / keys);
  if (selector.kind === "topK") return { ...selector, density: widen(selector.density) };
  return { ...selector, maxDensity: widen(selector.maxDensity) };
}

/** The most a selector can deliver, dense groups included. */
function expectedDensity(selector: Selector, shape: MaskShape, denseRows = 0): number {
  const share = selector.kind === "topK" ? selector.density : selector.maxDensity;
  const dense = Math.min(1, denseRows / Math.max(1, shape.rows));
  return dense + (1 - dense) * share;
}
