import type { DeviceTensor, DType, Stream } from "../../ffi/index.ts";
import { TensorPool } from "./pool.ts";

/** A dense layer's parameters: weight [out, in] (or a transposed view of rows [in, out]), bias [out]. */
export interface Linear {
  readonly weight: DeviceTensor;
  readonly bias: DeviceTensor | null;
}

/** A convolution's parameters: weight [outChannels, inChannels, height, width], bias [outChannels]. */
export type Convolution = Linear;

/** A mask over columns: which of them each group recomputes (`kernels/include/tamias.h`, "masks"). */
export interface ColumnMask {
  /** [batch, lists, groups, capacity], ascending in each group. */
  readonly indices: DeviceTensor;
  /** I32 [batch, lists, groups]; -1 means every column. */
  readonly counts: DeviceTensor;
}

/** The most bytes a packed list of up to `capacity` of the columns takes. */
export function packedMaskBytes(capacity: number, columns: number): number {
  const most = Math.min(capacity, columns);
  return most + Math.floor((columns - most) / 255);
}

/** Columns and groups a selection takes whatever their score: U8 [columns] and U8 [groups]. */
export interface SelectionRules {
  readonly always?: DeviceTensor | null | undefined;
  readonly denseGroups?: DeviceTensor | null | undefined;
}

const activations = { identity: 0, silu: 1, geluTanh: 2, geluErf: 3, quickGelu: 4 } as const;
export type Activation = keyof typeof activations;

const ropeLayouts = { pairs: 0, halves: 1 } as const;
const cacheRules = { none: 0, control: 1, lse: 2 } as const;
export type NativeCacheRule = keyof typeof cacheRules;

/**
 * The operations a network is written in. Each queues work on one stream and returns at once. The C header documents
 * shapes, strides and dtypes; outputs are the caller's, most easily a `temporary`.
 */
export class Ops implements Disposable {
  readonly stream: Stream;
  readonly #pool: TensorPool;

  constructor(stream: Stream) {
    this.stream = stream;
    this.#pool = new TensorPool(stream.device);
  }

  /** The dtype activations have on this backend. */
  get activationType(): DType {
    return this.stream.device.backend === "cuda" ? "bf16" : "f32";
  }

  /** An uninitialised tensor of the activation dtype (or another), given back by `using`. */
  temporary(shape: readonly number[], dtype: DType = this.activationType): DeviceTensor {
    return this.#pool.tensor(dtype, shape);
  }

  /** Keeps a temporary's memory as it is, also after its disposal, until the returned function is called. */
  hold(tensor: DeviceTensor): () => void {
    return this.#pool.hold(tensor);
  }

  /** A tensor that lives until it is disposed, with its own memory. */
  lasting(shape: readonly number[], dtype: DType = this.activationType): DeviceTensor {
    return this.stream.device.tensor(dtype, shape);
  }

  /** Bytes held for temporaries. */
  get temporaryBytes(): number {
    return this.#pool.bytes;
  }

  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]();
  }

  // ---- moving data

  copy(from: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_copy", from, out);
  }

  fill(out: DeviceTensor, value: number): void {
    this.stream.queue("tamias_fill", value, out);
  }

  /** out[i] = table[indices[i]]: embeddings, token reorder. */
  gatherRows(table: DeviceTensor, indices: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_gather_rows", table, indices, out);
  }

  /** out, F32 [2] = { sum |now - before|, sum |before| }, or { sum |now|, 0 }: how far a tensor moved. */
  changeNorms(now: DeviceTensor, before: DeviceTensor | null, out: DeviceTensor): void {
    this.stream.queue("tamias_change_norms", now, before, out);
  }

  // ---- element-wise

  activate(activation: Activation, x: DeviceTensor, out = x): void {
    this.stream.queue("tamias_activate", activations[activation], x, out);
  }

  /** out = alpha * a + beta * b */
  combine(alpha: number, a: DeviceTensor, beta: number, b: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_combine", alpha, a, beta, b, out);
  }

  multiply(a: DeviceTensor, b: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_multiply", a, b, out);
  }

  /** out = residual + gate * x, gate [batch, d] */
  gateResidual(residual: DeviceTensor, gate: DeviceTensor, x: DeviceTensor, out = residual): void {
    this.stream.queue("tamias_gate_residual", residual, gate, x, out);
  }

  // ---- dense layers

  linear(x: DeviceTensor, layer: Linear, out: DeviceTensor, activation: Activation = "identity"): void {
    this.stream.queue("tamias_linear", x, layer.weight, layer.bias, activations[activation], 0, out);
  }

  /** out += x W^T + bias */
  linearAdd(x: DeviceTensor, layer: Linear, out: DeviceTensor): void {
    this.stream.queue("tamias_linear", x, layer.weight, layer.bias, activations.identity, 1, out);
  }

  /** Layer norm, then weight and bias, then * (1 + scale) + shift. */
  layerNorm(
    x: DeviceTensor,
    out: DeviceTensor,
    epsilon: number,
    {
      weight = null,
      bias = null,
      scale = null,
      shift = null,
    }: Partial<Record<"weight" | "bias" | "scale" | "shift", DeviceTensor | null>> = {},
  ): void {
    this.stream.queue("tamias_layer_norm", x, weight, bias, scale, shift, epsilon, out);
  }

  rmsNorm(x: DeviceTensor, weight: DeviceTensor | null, epsilon: number, out: DeviceTensor): void {
    this.stream.queue("tamias_rms_norm", x, weight, epsilon, out);
  }

  /** Per-head RMS norm, then rotary embedding. x: [batch, heads, tokens, headDim]. */
  normRope(
    x: DeviceTensor,
    out: DeviceTensor,
    {
      weight = null,
      epsilon = 1e-6,
      rope = null,
      layout = "pairs",
    }: {
      weight?: DeviceTensor | null;
      epsilon?: number;
      rope?: Rope | null;
      layout?: keyof typeof ropeLayouts;
    },
  ): void {
    const { cos, sin } = rope ?? { cos: null, sin: null };
    this.stream.queue("tamias_norm_rope", x, weight, epsilon, cos, sin, ropeLayouts[layout], out);
  }

  /** Softmax attention; q, k, v, out: [batch, heads, tokens, headDim]. */
  attention(
    { q, k, v }: QueryKeyValue,
    out: DeviceTensor,
    {
      scale,
      bias = null,
      causal = false,
      lse = null,
    }: { scale: number; bias?: DeviceTensor | null; causal?: boolean; lse?: DeviceTensor | null },
  ): void {
    this.stream.queue("tamias_attention", q, k, v, bias, scale, causal ? 1 : 0, out, lse);
  }

  // ---- convolutional autoencoder

  conv2d(
    x: DeviceTensor,
    layer: Convolution,
    out: DeviceTensor,
    {
      stride = 1,
      pad = 0,
    }: { stride?: number; pad?: number | { top: number; bottom: number; left: number; right: number } } = {},
  ): void {
    const { top, bottom, left, right } =
      typeof pad === "number" ? { top: pad, bottom: pad, left: pad, right: pad } : pad;
    this.stream.queue("tamias_conv2d", x, layer.weight, layer.bias, stride, top, bottom, left, right, out);
  }

  groupNorm(
    x: DeviceTensor,
    groups: number,
    { weight, bias }: Linear,
    epsilon: number,
    out: DeviceTensor,
    activation: Activation = "identity",
  ): void {
    this.stream.queue("tamias_group_norm", x, groups, weight, bias, epsilon, activations[activation], out);
  }

  upsampleNearest(x: DeviceTensor, factor: number, out: DeviceTensor): void {
    this.stream.queue("tamias_upsample_nearest", x, factor, out);
  }

  /** F32 [3, height, width] in [-1, 1] -> U8 [height, width, 3]. */
  imageRgb8(x: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_image_rgb8", x, out);
  }

  // ---- masks

  /** Exactly k columns of each group. */
  selectTopK(
    scores: DeviceTensor,
    k: number,
    { always, denseGroups }: SelectionRules,
    mask: ColumnMask,
  ): void {
    this.stream.queue(
      "tamias_select_top_k",
      scores,
      k,
      always ?? null,
      denseGroups ?? null,
      mask.indices,
      mask.counts,
    );
  }

  /** The fewest columns that hold `mass` of the group's score. */
  selectMass(
    scores: DeviceTensor,
    { mass, minimum, maximum }: { mass: number; minimum: number; maximum: number },
    { always, denseGroups }: SelectionRules,
    mask: ColumnMask,
  ): void {
    this.stream.queue(
      "tamias_select_mass",
      scores,
      mass,
      minimum,
      maximum,
      always ?? null,
      denseGroups ?? null,
      mask.indices,
      mask.counts,
    );
  }

  /** Columns whose score is above mean + z * standard deviation. */
  selectThreshold(
    scores: DeviceTensor,
    { z, maximum }: { z: number; maximum: number },
    { always, denseGroups }: SelectionRules,
    mask: ColumnMask,
  ): void {
    this.stream.queue(
      "tamias_select_threshold",
      scores,
      z,
      maximum,
      always ?? null,
      denseGroups ?? null,
      mask.indices,
      mask.counts,
    );
  }

  /** The lists of a mask over `columns` as codes, U8 [batch, lists, groups, packedMaskBytes(capacity, columns)]. */
  maskPack(mask: ColumnMask, columns: number, packed: DeviceTensor): void {
    this.stream.queue("tamias_mask_pack", mask.indices, mask.counts, columns, packed);
  }

  /** mask.indices = the lists that were packed with mask.counts. */
  maskUnpack(packed: DeviceTensor, mask: ColumnMask): void {
    this.stream.queue("tamias_mask_unpack", packed, mask.counts, mask.indices);
  }

  blockMeans(x: DeviceTensor, group: number, out: DeviceTensor): void {
    this.stream.queue("tamias_block_means", x, group, out);
  }

  neuronScores(now: DeviceTensor, cached: DeviceTensor, columnNorm: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_neuron_scores", now, cached, columnNorm, out);
  }

  /** cached = now for the chosen columns. */
  updateChosen(now: DeviceTensor, mask: ColumnMask, cached: DeviceTensor): void {
    this.stream.queue("tamias_update_chosen", now, mask.indices, mask.counts, cached);
  }

  rowNorms(x: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_row_norms", x, out);
  }

  // ---- column-sparse attention

  /** Dense attention with the softmax's column sums per query group. */
  attentionColumnSums(
    { q, k, v }: QueryKeyValue,
    {
      scale,
      group,
      previousLse = null,
      out,
      lse,
      columnSums,
    }: {
      scale: number;
      group: number;
      previousLse?: DeviceTensor | null;
      out: DeviceTensor;
      lse: DeviceTensor;
      columnSums: DeviceTensor;
    },
  ): void {
    this.stream.queue(
      "tamias_attention_column_sums",
      q,
      k,
      v,
      scale,
      group,
      previousLse,
      out,
      lse,
      columnSums,
    );
  }

  /** Attention over the chosen keys, merged with the cache. */
  attentionColumns(
    { q, k, v }: QueryKeyValue,
    {
      scale,
      group,
      mask,
      rule,
      beta = 1,
      cache = null,
      cacheLse = null,
      out,
      lse = null,
    }: {
      scale: number;
      group: number;
      mask: ColumnMask;
      rule: NativeCacheRule;
      beta?: number;
      cache?: DeviceTensor | null;
      cacheLse?: DeviceTensor | null;
      out: DeviceTensor;
      lse?: DeviceTensor | null;
    },
  ): void {
    this.stream.queue(
      "tamias_attention_columns",
      q,
      k,
      v,
      scale,
      group,
      mask.indices,
      mask.counts,
      cacheRules[rule],
      beta,
      cache,
      cacheLse,
      out,
      lse,
    );
  }

  /** Builds the attention cache from dense and chosen-only attention of the same step. */
  attentionCache(
    rule: NativeCacheRule,
    beta: number,
    dense: { out: DeviceTensor; lse: DeviceTensor },
    chosen: { out: DeviceTensor; lse: DeviceTensor },
    cache: { out: DeviceTensor; lse: DeviceTensor | null },
  ): void {
    this.stream.queue(
      "tamias_attention_cache",
      cacheRules[rule],
      beta,
      dense.out,
      dense.lse,
      chosen.out,
      chosen.lse,
      cache.out,
      cache.lse,
    );
  }

  // ---- column-sparse MLP

  /** Dense fc1 into neuron-major slabs [batch, groups, hidden, group], with pre-activation means. */
  mlpRefreshFc1(
    x: DeviceTensor,
    fc1: Linear,
    activation: Activation,
    slabs: DeviceTensor,
    means: DeviceTensor | null,
  ): void {
    this.stream.queue(
      "tamias_mlp_refresh_fc1",
      x,
      fc1.weight,
      fc1.bias,
      activations[activation],
      slabs,
      means,
    );
  }

  /** Dense fc2 from slabs; w2t: [hidden, out]. */
  mlpRefreshFc2(slabs: DeviceTensor, w2t: DeviceTensor, bias: DeviceTensor | null, out: DeviceTensor): void {
    this.stream.queue("tamias_mlp_refresh_fc2", slabs, w2t, bias, out);
  }

  /** Chosen neurons only: overwrites their activations and packs the differences into `delta`. */
  mlpDeltaFc1(
    x: DeviceTensor,
    fc1: Linear,
    activation: Activation,
    mask: ColumnMask,
    slabs: DeviceTensor,
    delta: DeviceTensor,
  ): void {
    this.stream.queue(
      "tamias_mlp_delta_fc1",
      x,
      fc1.weight,
      fc1.bias,
      activations[activation],
      mask.indices,
      mask.counts,
      slabs,
      delta,
    );
  }

  /** out += delta times the chosen rows of w2t. */
  mlpDeltaFc2(delta: DeviceTensor, mask: ColumnMask, w2t: DeviceTensor, out: DeviceTensor): void {
    this.stream.queue("tamias_mlp_delta_fc2", delta, mask.indices, mask.counts, w2t, out);
  }
}

/** Rotary tables, F32 [tokens, headDim / 2]. */
export interface Rope {
  readonly cos: DeviceTensor;
  readonly sin: DeviceTensor;
}

/** [batch, heads, tokens, headDim] each, any strides. */
export interface QueryKeyValue {
  readonly q: DeviceTensor;
  readonly k: DeviceTensor;
  readonly v: DeviceTensor;
}
