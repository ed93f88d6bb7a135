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
import { HostTransfers } from "./host-caches.ts";
import type { FixedChoice } from "./mask.ts";
import type { MaskWork } from "./mask-work.ts";
import { MlpCache } from "./mlp-cache.ts";
import type { Placement } from "./cache-place.ts";

/** What one module keeps in one branch; each part is made when a cell first needs it. */
export class ModuleStore implements Disposable {
  readonly layout: ModuleLayout;
  readonly #ops: Ops;
  readonly #work: MaskWork;
  readonly #counts: MaskCounts;
  readonly #transfers: HostTransfers | undefined;
  readonly #attention = new Map<AttentionCacheLayout, AttentionCache>();
  #mlp: MlpCache | undefined;
  #kept: DeviceTensor | undefined;

  /** @param transfers where the layout places its caches in host memory */
  constructor(
    ops: Ops,
    work: MaskWork,
    counts: MaskCounts,
    layout: ModuleLayout,
    transfers: HostTransfers | undefined,
  ) {
    this.#ops = ops;
    this.#work = work;
    this.#counts = counts;
    this.#transfers = transfers;
    this.layout = layout;
  }

  /** @param fixed asked for when the cache is made */
  attention(layout: AttentionCacheLayout, fixed: () => FixedChoice): AttentionCache {
    let cache = this.#attention.get(layout);
    if (!cache) {
      cache = new AttentionCache(this.#ops, this.#work, this.#counts, layout, fixed(), this.#transfers);
      this.#attention.set(layout, cache);
    }
    return cache;
  }

  /** Begins to fetch what a delta reads, where caches are in host memory. */
  prefetch(forecast: number): void {
    if (this.#transfers)
      for (const cache of this.#attention.values()) if (cache.isFilled) cache.prefetch(forecast);
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
  readonly #transfers: HostTransfers | undefined;
  readonly #modules = new Map<string, ModuleStore>();
  /** Modules whose caches are in host memory, in the order they run. */
  readonly #hosted: readonly ModuleStore[];

  constructor(ops: Ops, work: MaskWork, layouts: readonly ModuleLayout[], placement: Placement | undefined) {
    this.#counts = new MaskCounts(ops, countElements(layouts));
    const { slotBytes = 0, slots = 0 } = placement ?? {};
    this.#transfers = slots > 0 ? new HostTransfers(ops, slotBytes, slots) : undefined;
    for (const layout of layouts) {
      const { branch, module, place } = layout;
      const transfers = place === "host" ? this.#transfers : undefined;
      const store = new ModuleStore(ops, work, this.#counts, layout, transfers);
      this.#modules.set(keyOf(branch, module.layer, module.id), store);
    }
    this.#hosted = [...this.#modules.values()].filter(({ layout }) => layout.place === "host");
  }

  get counts(): MaskCounts {
    return this.#counts;
  }

  /** What was moved between host and device since the last call. */
  takeTransfers(): ReturnType<HostTransfers["takeReport"]> | undefined {
    return this.#transfers?.takeReport();
  }

  module(branch: number, layer: number, id: string): ModuleStore | undefined {
    return this.#modules.get(keyOf(branch, layer, id));
  }

  /** The module with caches in host memory that runs next after this one: in this branch, the next branch, or the next step. */
  hostedAfter(store: ModuleStore): { readonly store: ModuleStore; readonly isNextStep: boolean } | undefined {
    const at = this.#hosted.indexOf(store);
    if (at < 0) return undefined;
    const next = this.#hosted[(at + 1) % this.#hosted.length]!;
    return { store: next, isNextStep: at + 1 === this.#hosted.length };
  }

  [Symbol.dispose](): void {
    using parts = new DisposableStack();
    parts.use(this.#counts);
    if (this.#transfers) parts.use(this.#transfers);
    for (const module of this.#modules.values()) parts.use(module);
    this.#modules.clear();
  }
}

function keyOf(branch: number, layer: number, id: string): string {
  return `${branch}.${layer}.${id}`;
}
