import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";
import { AttentionCache } from "./attention-cache.ts";
import {
  type AttentionCacheLayout,
  countElements,
  type MlpCacheLayout,
  type ModuleLayout,
} from "./cache-layout.ts";
import { MaskCounts } from "./counts.ts";
import type { FixedChoice } from "./mask.ts";
import type { MaskWork } from "./mask-work.ts";
import { MlpCache } from "./mlp-cache.ts";

/** What one module keeps in one branch; each part is made when a cell first needs it. */
export class ModuleStore implements Disposable {
  readonly layout: ModuleLayout;
  readonly #ops: Ops;
  readonly #work: MaskWork;
  readonly #counts: MaskCounts;
  readonly #attention = new Map<AttentionCacheLayout, AttentionCache>();
  #mlp: MlpCache | undefined;
  #kept: DeviceTensor | undefined;

  constructor(ops: Ops, work: MaskWork, counts: MaskCounts, layout: ModuleLayout) {
    this.#ops = ops;
    this.#work = work;
    this.#counts = counts;
    this.layout = layout;
  }

  /** @param fixed asked for when the cache is made */
  attention(layout: AttentionCacheLayout, fixed: () => FixedChoice): AttentionCache {
    let cache = this.#attention.get(layout);
    if (!cache) {
      cache = new AttentionCache(this.#ops, this.#work, this.#counts, layout, fixed());
      this.#attention.set(layout, cache);
    }
    return cache;
  }

  mlp(layout: MlpCacheLayout, fixed: () => FixedChoice): MlpCache {
    this.#mlp ??= new MlpCache(this.#ops, this.#work, this.#counts, layout, fixed());
    return this.#mlp;
  }

  /** The output, or residual, as it was last computed; undefined before that, and where nothing is reused. */
  get kept(): DeviceTensor | undefined {
    return this.#kept;
  }

  /** Has `fill` write the output that a later cell may reuse; does nothing where none may. */
  keep(fill: (kept: DeviceTensor) => void): void {
    const shape = this.layout.kept;
    if (!shape) return;
    this.#kept ??= this.#ops.memory.persistent(shape);
    fill(this.#kept);
  }

  [Symbol.dispose](): void {
    using parts = new DisposableStack();
    for (const cache of this.#attention.values()) parts.use(cache);
    this.#attention.clear();
    if (this.#mlp) parts.use(this.#mlp);
    if (this.#kept) parts.use(this.#kept);
  }
}

/** All that a run keeps from step to step, by branch, layer and module. */
export class DeltaStore implements Disposable {
  readonly #counts: MaskCounts;
  readonly #modules = new Map<string, ModuleStore>();

  constructor(ops: Ops, work: MaskWork, layouts: readonly ModuleLayout[]) {
    this.#counts = new MaskCounts(ops, countElements(layouts));
    for (const layout of layouts) {
      const { layer, id } = layout.module;
      this.#modules.set(keyOf(layout.branch, layer, id), new ModuleStore(ops, work, this.#counts, layout));
    }
  }

  get counts(): MaskCounts {
    return this.#counts;
  }

  module(branch: number, layer: number, id: string): ModuleStore | undefined {
    return this.#modules.get(keyOf(branch, layer, id));
  }

  [Symbol.dispose](): void {
    using parts = new DisposableStack();
    parts.use(this.#counts);
    for (const module of this.#modules.values()) parts.use(module);
    this.#modules.clear();
  }
}

function keyOf(branch: number, layer: number, id: string): string {
  return `${branch}.${layer}.${id}`;
}
