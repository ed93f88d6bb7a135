import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops, QueryKeyValue } from "../nn/index.ts";
import type { AttentionCacheLayout } from "./cache-layout.ts";
import type { MaskCounts } from "./counts.ts";
import { type FixedChoice, groupCount, Mask } from "./mask.ts";
import type { MaskJob, MaskWork } from "./mask-work.ts";
import type { CacheRule, Selector } from "./policy.ts";

/** What a refresh leaves behind for the delta steps after it. */
interface Remembered {
  /** Control variate: O - beta * O_S. Log-sum-exp: the rest's output O_R. */
  readonly out: DeviceTensor;
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
  readonly #current: Remembered;
  /** The cache of the refresh before, kept for forecasts. */
  readonly #earlier: Remembered | null;
  #refreshes = 0;
  /** Makes the mask and the cache of the last refresh. */
  #job: MaskJob | undefined;

  constructor(
    ops: Ops,
    work: MaskWork,
    counts: MaskCounts,
    layout: AttentionCacheLayout,
    fixed: FixedChoice,
  ) {
    const { batch, lists: heads, rows: queries } = layout.mask.shape;
    this.#ops = ops;
    this.#work = work;
    this.mask = new Mask(ops, counts, layout.mask, fixed);
    this.#lse = ops.memory.persistent([batch, heads, queries], "f32");
    const remember = (): Remembered => ({
      out: ops.memory.persistent([batch, heads, queries, layout.headDim]),
      lse: layout.rule === "lse" ? ops.memory.persistent([batch, heads, queries], "f32") : null,
      sigma: 0,
    });
    this.#current = remember();
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
    // The last refresh's log-sum-exp L' in place of this one's scales a row's part of the sums by exp(L - L'): rows whose
    // keys match better than they did count more, up to the steps' change of the softmax denominator.
    ops.attentionColumnSums(qkv, {
      scale,
      group,
      previousLse: this.isFilled ? this.#lse : null,
      out,
      lse: this.#lse,
      columnSums,
    });
    const earlier = this.isFilled ? this.#earlier : null;
    if (earlier) earlier.sigma = this.#current.sigma;
    this.#current.sigma = sigma;
    if (always) this.mask.setAlways(always);
    this.#job = this.#work.start([columnSums, out, qkv.q, qkv.k, qkv.v], (side) => {
      this.mask.select(side, columnSums, select);
      if (earlier) side.copy(this.#current.out, earlier.out);
      this.#remember(side, qkv, scale, out, cache);
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
    using forecasted = this.#forecast(sigma, forecast);
    this.#ops.attentionColumns(qkv, {
      scale,
      group,
      mask: this.mask,
      rule: cache.rule,
      beta: betaOf(cache),
      cache: cache.rule === "none" ? null : (forecasted ?? this.#current.out),
      cacheLse: this.#current.lse,
      out,
    });
  }

  /** Fills the cache with what the mask leaves out of dense attention's `out`. */
  #remember(ops: Ops, qkv: QueryKeyValue, scale: number, out: DeviceTensor, cache: CacheRule): void {
    const { group } = this.mask.shape;
    if (cache.rule === "none") return;
    using lse = ops.memory.temporary(this.#lse.shape, "f32");
    const chosen = { out: this.#current.out, lse };
    ops.attentionColumns(qkv, { scale, group, mask: this.mask, rule: "none", ...chosen });
    ops.attentionCache(cache.rule, betaOf(cache), { out, lse: this.#lse }, chosen, this.#current);
  }

  [Symbol.dispose](): void {
    this.mask[Symbol.dispose]();
    this.#lse[Symbol.dispose]();
    for (const remembered of [this.#current, this.#earlier]) {
      remembered?.out[Symbol.dispose]();
      remembered?.lse?.[Symbol.dispose]();
    }
  }

  /** The cache carried along the line through its last two refreshes, or undefined where it stands still. */
  #forecast(sigma: number, forecast: number): DeviceTensor | undefined {
    if (!this.#earlier || this.#refreshes < 2 || forecast === 0) return undefined;
    const travelled = this.#current.sigma - this.#earlier.sigma;
    if (travelled === 0) return undefined;
    const reach = (forecast * (sigma - this.#current.sigma)) / travelled;
    const forecasted = this.#ops.memory.temporary(this.#current.out.shape);
    this.#ops.combine(1 + reach, this.#current.out, -reach, this.#earlier.out, forecasted);
    return forecasted;
  }
}

function betaOf(cache: CacheRule): number {
  return cache.rule === "control" ? cache.beta : 1;
}
