import { type DeviceTensor, dtypes } from "../../ffi/index.ts";
import type { ColumnMask, Ops, QueryKeyValue } from "../nn/index.ts";
import type { AttentionCacheLayout } from "./cache-layout.ts";
import type { MaskCounts } from "./counts.ts";
import { type CacheTensor, DeviceCacheTensor, type HostTransfers } from "./host-caches.ts";
import { type FixedChoice, groupCount, Mask } from "./mask.ts";
import { InlineMaskWork, type MaskJob, type MaskWork } from "./mask-work.ts";
import type { CacheRule, Selector } from "./policy.ts";

/** What a refresh leaves behind for the delta steps after it. */
interface Remembered {
  /** Control variate: O - beta * O_S. Log-sum-exp: the rest's output O_R. */
  readonly out: CacheTensor;
  /** L_R, F32 [batch, heads, queries]; log-sum-exp rule only. */
  readonly lse: DeviceTensor | null;
  sigma: number;
}

/** What a cell asks of its cache. */
export interface AttentionCellSettings {
  readonly select: Selector;
  readonly cache: CacheRule;
  readonly forecast: number;
}

/** Attention of some heads of one layer across the steps of a run: mask, cache, last log-sum-exp. */
export class AttentionCache implements Disposable {
  readonly mask: Mask;
  readonly #ops: Ops;
  readonly #work: MaskWork;
  /** These heads' log-sum-exp at the last refresh, F32 [batch, heads, queries]. */
  readonly #lse: DeviceTensor;
  /** null where the rule remembers nothing. */
  #current: Remembered | null;
  /** The cache of the refresh before, kept for forecasts. */
  #earlier: Remembered | null;
  #refreshes = 0;
  /** Makes the mask and the cache of the last refresh. */
  #job: MaskJob | undefined;

  /** Bytes by part, without counts; `outputs` may lie in host memory, the others are on the device. */
  static bytes({ mask, headDim, rule, keepsEarlier, activationType }: AttentionCacheLayout) {
    const { batch, lists: heads, rows: queries } = mask.shape;
    const rows = batch * heads * queries;
    const output = rows * headDim * dtypes[activationType].bytes;
    return {
      masks: Mask.bytes(mask),
      logSumExps: rows * 4 * (rule === "lse" ? 2 : 1),
      outputs: rule === "none" ? 0 : output,
      earlierOutputs: keepsEarlier ? output : 0,
    };
  }

  /** @param transfers keep the caches in host memory; undefined: they lie on the device */
  constructor(
    ops: Ops,
    work: MaskWork,
    counts: MaskCounts,
    layout: AttentionCacheLayout,
    fixed: FixedChoice,
    transfers?: HostTransfers,
  ) {
    const { batch, lists: heads, rows: queries } = layout.mask.shape;
    this.#ops = ops;
    // What leaves for the host does so in the order of the main stream, and is made there.
    this.#work = transfers ? new InlineMaskWork(ops) : work;
    this.mask = new Mask(ops, counts, layout.mask, fixed);
    this.#lse = ops.memory.persistent([batch, heads, queries], "f32");
    const shape = [batch, heads, queries, layout.headDim];
    const remember = (): Remembered => ({
      out: transfers
        ? transfers.tensor(shape, layout.activationType)
        : new DeviceCacheTensor(ops, shape, layout.activationType),
      lse: layout.rule === "lse" ? ops.memory.persistent([batch, heads, queries], "f32") : null,
      sigma: 0,
    });
    this.#current = layout.rule === "none" ? null : remember();
    this.#earlier = layout.keepsEarlier ? remember() : null;
  }

  get isFilled(): boolean {
    return this.#refreshes > 0;
  }

  /**
   * Dense attention of this step, and beside what follows it: a new mask from its column sums, and a new cache of what
   * the mask leaves out. Temporaries in `qkv` and `out` may be disposed; what they hold must not be overwritten.
   * @param always keys to choose whatever their scores from now on; undefined: those of the last time
   */
  refresh(
    qkv: QueryKeyValue,
    scale: number,
    sigma: number,
    out: DeviceTensor,
    { select, cache }: AttentionCellSettings,
    always?: Uint8Array,
  ): void {
    const ops = this.#ops;
    const { group, columns } = this.mask.shape;
    const [batch = 0, heads = 0] = this.#lse.shape;
    this.#job?.wait();
    using columnSums = ops.memory.temporary([batch, heads, groupCount(this.mask.shape), columns], "f32");
    // The sums are normalised with the last refresh's log-sum-exp L', so a row adds exp(L - L') instead of 1 in all: rows
    // whose keys match better than they did weigh more in their group's choice. Within a row nothing changes.
    ops.attentionColumnSums(qkv, {
      scale,
      group,
      previousLse: this.isFilled ? this.#lse : null,
      out,
      lse: this.#lse,
      columnSums,
    });
    if (this.isFilled && this.#earlier) [this.#current, this.#earlier] = [this.#earlier, this.#current];
    const current = this.#current;
    if (current) current.sigma = sigma;
    if (always) this.mask.setAlways(always);
    this.#job = this.#work.start([columnSums, out, qkv.q, qkv.k, qkv.v], (maskOps) => {
      using lists = this.mask.select(maskOps, columnSums, select);
      if (current) this.#remember(maskOps, qkv, { scale, lists, out, cache, into: current });
    });
    this.#refreshes++;
  }

  /** The chosen keys of this step, merged with the cache. */
  delta(
    qkv: QueryKeyValue,
    scale: number,
    sigma: number,
    out: DeviceTensor,
    { cache, forecast }: AttentionCellSettings,
  ): void {
    const { group } = this.mask.shape;
    this.#job?.wait();
    using lists = this.mask.lists(this.#ops);
    const merge = (cached: DeviceTensor | null, cacheLse: DeviceTensor | null) =>
      this.#ops.attentionColumns(qkv, {
        scale,
        group,
        mask: lists,
        rule: cache.rule,
        beta: betaOf(cache),
        cache: cached,
        cacheLse,
        out,
      });
    if (!this.#current) return merge(null, null);
    using lease = this.#current.out.read();
    using forecasted = this.#forecast(lease.tensor, sigma, forecast);
    merge(forecasted ?? lease.tensor, this.#current.lse);
  }

  /** Has what a delta reads be on the device when it comes. */
  prefetch(forecast: number): void {
    this.#current?.out.prefetch();
    if (this.#forecasts(forecast)) this.#earlier?.out.prefetch();
  }

  /** Fills a cache with what the mask leaves out of dense attention's `out`. */
  #remember(
    ops: Ops,
    qkv: QueryKeyValue,
    {
      scale,
      lists,
      out,
      cache,
      into,
    }: { scale: number; lists: ColumnMask; out: DeviceTensor; cache: CacheRule; into: Remembered },
  ): void {
    const { group } = this.mask.shape;
    using room = into.out.write();
    using lse = ops.memory.temporary(this.#lse.shape, "f32");
    const chosen = { out: room.tensor, lse };
    ops.attentionColumns(qkv, { scale, group, mask: lists, rule: "none", ...chosen });
    const kept = { out: room.tensor, lse: into.lse };
    ops.attentionCache(cache.rule, betaOf(cache), { out, lse: this.#lse }, chosen, kept);
  }

  [Symbol.dispose](): void {
    this.mask[Symbol.dispose]();
    this.#lse[Symbol.dispose]();
    for (const remembered of [this.#current, this.#earlier]) {
      remembered?.out[Symbol.dispose]();
      remembered?.lse?.[Symbol.dispose]();
    }
  }

  #forecasts(forecast: number): boolean {
    return this.#earlier !== null && this.#refreshes > 1 && forecast !== 0;
  }

  /** The cache carried along the line through its last two refreshes, or undefined where it stands still. */
  #forecast(current: DeviceTensor, sigma: number, forecast: number): DeviceTensor | undefined {
    if (!this.#forecasts(forecast)) return undefined;
    const [last, earlier] = [this.#current!, this.#earlier!];
    const travelled = last.sigma - earlier.sigma;
    if (travelled === 0) return undefined;
    const reach = (forecast * (sigma - last.sigma)) / travelled;
    using lease = earlier.out.read();
    const forecasted = this.#ops.memory.temporary(current.shape);
    this.#ops.combine(1 + reach, current, -reach, lease.tensor, forecasted);
    return forecasted;
  }
}

function betaOf(cache: CacheRule): number {
  return cache.rule === "control" ? cache.beta : 1;
}
