import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops, QueryKeyValue } from "../nn/index.ts";
import type { MaskCounts } from "./counts.ts";
import { type FixedChoice, Mask, type MaskShape } from "./mask.ts";
import type { AttentionSettings, Selector } from "./policy.ts";
import type { SideJob, SideWork } from "./side-work.ts";

/** What a refresh leaves behind for the delta steps after it. */
interface Remembered {
  /** Control variate: O - beta * O_S. Log-sum-exp: the rest's output O_R. */
  readonly out: DeviceTensor;
  /** L_R, F32 [batch, heads, queries]; log-sum-exp rule only. */
  readonly lse: DeviceTensor | null;
  sigma: number;
}

/** One layer's attention across the steps of a run: its mask, its cache, its last log-sum-exp. */
export class AttentionCache implements Disposable {
  readonly mask: Mask;
  readonly #ops: Ops;
  readonly #side: SideWork;
  readonly #settings: AttentionSettings;
  /** This layer's log-sum-exp at the last refresh, F32 [batch, heads, queries]. */
  readonly #lse: DeviceTensor;
  readonly #current: Remembered;
  /** The cache of the refresh before, kept for forecasts. */
  readonly #earlier: Remembered | null;
  #refreshes = 0;
  /** Makes the mask and the cache of the last refresh. */
  #job: SideJob | undefined;

  constructor(
    ops: Ops,
    side: SideWork,
    counts: MaskCounts,
    settings: AttentionSettings,
    selector: Selector,
    shape: MaskShape,
    fixed: FixedChoice,
    headDim: number,
  ) {
    const { batch, lists: heads, rows: queries } = shape;
    this.#ops = ops;
    this.#side = side;
    this.#settings = settings;
    this.mask = new Mask(ops, counts, shape, selector, fixed);
    this.#lse = ops.memory.persistent([batch, heads, queries], "f32");
    const remember = (): Remembered => ({
      out: ops.memory.persistent([batch, heads, queries, headDim]),
      lse: settings.cache.rule === "lse" ? ops.memory.persistent([batch, heads, queries], "f32") : null,
      sigma: 0,
    });
    this.#current = remember();
    this.#earlier = settings.forecast > 0 && settings.cache.rule === "control" ? remember() : null;
  }

  get isFilled(): boolean {
    return this.#refreshes > 0;
  }

  /**
   * Dense attention of this step, and beside what follows it: a new mask from its column sums, and a new cache of what
   * the mask leaves out. Temporaries in `qkv` and `out` may be disposed; what they hold must not be overwritten.
   */
  refresh(qkv: QueryKeyValue, scale: number, sigma: number, out: DeviceTensor, always?: Uint8Array): void {
    const ops = this.#ops;
    const { group, columns } = this.mask.shape;
    const [batch = 0, heads = 0, queries = 0] = this.#lse.shape;
    this.#job?.wait();
    using columnSums = ops.memory.temporary([batch, heads, Math.ceil(queries / group), columns], "f32");
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
    this.#job = this.#side.start([columnSums, out, qkv.q, qkv.k, qkv.v], (side) => {
      this.mask.select(side, columnSums, always);
      if (earlier) side.copy(this.#current.out, earlier.out);
      this.#remember(side, qkv, scale, out);
    });
    this.#refreshes++;
  }

  /** The chosen keys of this step, merged with the cache. */
  delta(qkv: QueryKeyValue, scale: number, sigma: number, out: DeviceTensor): void {
    const { cache } = this.#settings;
    const { group } = this.mask.shape;
    const beta = cache.rule === "control" ? cache.beta : 1;
    this.#job?.wait();
    using forecast = this.#forecast(sigma);
    this.#ops.attentionColumns(qkv, {
      scale,
      group,
      mask: this.mask,
      rule: cache.rule,
      beta,
      cache: cache.rule === "none" ? null : (forecast ?? this.#current.out),
      cacheLse: this.#current.lse,
      out,
    });
  }

  /** Fills the cache with what the mask leaves out of dense attention's `out`. */
  #remember(ops: Ops, qkv: QueryKeyValue, scale: number, out: DeviceTensor): void {
    const { cache } = this.#settings;
    const { group } = this.mask.shape;
    if (cache.rule === "none") return;
    using lse = ops.memory.temporary(this.#lse.shape, "f32");
    const chosen = { out: this.#current.out, lse };
    ops.attentionColumns(qkv, { scale, group, mask: this.mask, rule: "none", ...chosen });
    const beta = cache.rule === "control" ? cache.beta : 1;
    ops.attentionCache(cache.rule, beta, { out, lse: this.#lse }, chosen, this.#current);
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
  #forecast(sigma: number): DeviceTensor | undefined {
    if (!this.#earlier || this.#refreshes < 2) return undefined;
    const travelled = this.#current.sigma - this.#earlier.sigma;
    if (travelled === 0) return undefined;
    const reach = (this.#settings.forecast * (sigma - this.#current.sigma)) / travelled;
    const forecast = this.#ops.memory.temporary(this.#current.out.shape);
    this.#ops.combine(1 + reach, this.#current.out, -reach, this.#earlier.out, forecast);
    return forecast;
  }
}
