import { z } from "zod";
import { DeviceTensor } from "../../../ffi/index.ts";
import {
  type Activation,
  checkpointSource,
  type Linear,
  loadNetwork,
  type Ops,
  type Parameters,
} from "../../nn/index.ts";
import type { Checkpoint } from "../../weights/checkpoint.ts";
import { checkSequences, embed, uploadIndices } from "./sequences.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  d_model: z.int().positive(),
  d_kv: z.int().positive(),
  d_ff: z.int().positive(),
  num_layers: z.int().positive(),
  num_heads: z.int().positive(),
  relative_attention_num_buckets: z.int().min(4).default(32),
  relative_attention_max_distance: z.int().positive().default(128),
  layer_norm_epsilon: z.number().positive().default(1e-6),
  feed_forward_proj: z.enum(["gated-gelu", "gated-silu"]),
});

interface Layer {
  readonly norm1: DeviceTensor;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly out: Linear;
  readonly norm2: DeviceTensor;
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;
}

/**
 * T5's encoder (Raffel et al. 2020, arXiv 1910.10683; v1.1's gated MLP; transformers' `T5EncoderModel`). Logits are not
 * scaled; positions enter as a bias by bucketed distance, which all layers share. As in FLUX, padding is attended.
 */
export class T5Encoder implements Disposable {
  readonly #ops: Ops;
  readonly #parameters: Parameters;
  readonly #config: z.output<typeof configSchema>;
  readonly #tokens: DeviceTensor;
  /** F32 [buckets, heads] */
  readonly #bucketBias: DeviceTensor;
  readonly #layers: readonly Layer[];
  readonly #finalNorm: DeviceTensor;
  readonly #activation: Activation;

  /**
   * Loads all parameters; waits for them.
   * @throws TamiasError `bad_weights` when configuration or tensors are not those of a gated T5 encoder
   */
  static load(ops: Ops, checkpoint: Checkpoint): T5Encoder {
    return loadNetwork(
      ops,
      checkpointSource(checkpoint),
      configSchema,
      (parameters, config) => new T5Encoder(ops, parameters, config),
    );
  }

  private constructor(ops: Ops, parameters: Parameters, config: z.output<typeof configSchema>) {
    const { d_model: width, d_ff: hidden } = config;
    const inner = config.num_heads * config.d_kv;
    this.#ops = ops;
    this.#parameters = parameters;
    this.#config = config;
    this.#bucketBias = parameters.tensor(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      [config.relative_attention_num_buckets, config.num_heads],
      "f32",
    );
    this.#activation = config.feed_forward_proj === "gated-gelu" ? "geluTanh" : "silu";
    const embedding = parameters.has("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
    this.#tokens = parameters.tensor(embedding, [config.vocab_size, width]);
    const linear = (name: string, from: number, to: number) =>
      parameters.linear(name, from, to, { bias: false });
    this.#layers = Array.from({ length: config.num_layers }, (_, index): Layer => {
      const at = `encoder.block.${index}.layer`;
      return {
        norm1: parameters.tensor(`${at}.0.layer_norm.weight`, [width]),
        q: linear(`${at}.0.SelfAttention.q`, width, inner),
        k: linear(`${at}.0.SelfAttention.k`, width, inner),
        v: linear(`${at}.0.SelfAttention.v`, width, inner),
        out: linear(`${at}.0.SelfAttention.o`, inner, width),
        norm2: parameters.tensor(`${at}.1.layer_norm.weight`, [width]),
        gate: linear(`${at}.1.DenseReluDense.wi_0`, width, hidden),
        up: linear(`${at}.1.DenseReluDense.wi_1`, width, hidden),
        down: linear(`${at}.1.DenseReluDense.wo`, hidden, width),
      };
    });
    this.#finalNorm = parameters.tensor("encoder.final_layer_norm.weight", [width]);
  }

  /**
   * @param sequences token ids of equal length
   * @returns [batch, tokens, width], owned by the caller
   * @throws TamiasError `bad_input` for other sequences
   */
  encode(sequences: readonly Int32Array[]): DeviceTensor {
    const ops = this.#ops;
    const {
      d_model: width,
      d_kv: headDim,
      d_ff: hidden,
      num_heads: heads,
      layer_norm_epsilon: epsilon,
    } = this.#config;
    const batch = sequences.length;
    const tokens = checkSequences(sequences, { vocabulary: this.#config.vocab_size });
    using bias = this.#positionBias(tokens);

    using states = ops.memory.temporary([batch, tokens, width]);
    embed(ops, this.#tokens, sequences, states);
    using normed = ops.memory.temporary(states.shape);
    using q = ops.memory.temporary([batch, tokens, heads * headDim]);
    using k = ops.memory.temporary(q.shape);
    using v = ops.memory.temporary(q.shape);
    using attended = ops.memory.temporary(q.shape);
    using gate = ops.memory.temporary([batch, tokens, hidden]);
    using up = ops.memory.temporary(gate.shape);
    const byHead = (x: DeviceTensor) => x.reshape(batch, tokens, heads, headDim).permute(0, 2, 1, 3);
    for (const layer of this.#layers) {
      ops.rmsNorm(states, layer.norm1, epsilon, normed);
      ops.linear(normed, layer.q, q);
      ops.linear(normed, layer.k, k);
      ops.linear(normed, layer.v, v);
      ops.attention({ q: byHead(q), k: byHead(k), v: byHead(v) }, byHead(attended), { scale: 1, bias });
      ops.linearAdd(attended, layer.out, states);
      ops.rmsNorm(states, layer.norm2, epsilon, normed);
      ops.linear(normed, layer.gate, gate, this.#activation);
      ops.linear(normed, layer.up, up);
      ops.multiply(gate, up, gate);
      ops.linearAdd(gate, layer.down, states);
    }
    const out = ops.memory.own(states.shape);
    ops.rmsNorm(states, this.#finalNorm, epsilon, out);
    return out;
  }

  get parameterBytes(): number {
    return this.#parameters.bytes;
  }

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }

  /** What attention's logits get for where query and key stand, F32 [heads, queries, keys]: a temporary. */
  #positionBias(tokens: number): DeviceTensor {
    const ops = this.#ops;
    const { num_heads: heads } = this.#config;
    // Distances key - query, from -(tokens - 1) to tokens - 1.
    const span = 2 * tokens - 1;
    const buckets = Int32Array.from({ length: span }, (_, at) => this.#bucket(at - (tokens - 1)));
    using bucketOf = uploadIndices(ops, buckets);
    using byDistance = ops.memory.temporary([span, heads], "f32");
    ops.gatherRows(this.#bucketBias, bucketOf, byDistance);
    using byHead = ops.memory.temporary([heads, span], "f32");
    ops.copy(byDistance.permute(1, 0), byHead);
    // Overlapping rows, each one distance on: the keys' distances from the last query, from the one before it …
    const fromLastQuery = new DeviceTensor(
      byHead.allocation,
      "f32",
      [heads, tokens, tokens],
      [span, 1, 1],
      byHead.byteOffset,
    );
    using lastFirst = uploadIndices(
      ops,
      Int32Array.from({ length: tokens }, (_, query) => tokens - 1 - query),
    );
    const bias = ops.memory.temporary([heads, tokens, tokens], "f32");
    ops.gatherRows(fromLastQuery, lastFirst, bias);
    return bias;
  }

  /** Half of the buckets for each direction; in each, half for single distances and half growing with the logarithm. */
  #bucket(distance: number): number {
    const { relative_attention_num_buckets: buckets, relative_attention_max_distance: furthest } =
      this.#config;
    const half = buckets / 2;
    const single = half / 2;
    const direction = distance > 0 ? half : 0;
    const steps = Math.abs(distance);
    if (steps < single) return direction + steps;
    const growth = Math.log(steps / single) / Math.log(furthest / single);
    return direction + Math.min(half - 1, single + Math.floor(Math.fround(growth) * (half - single)));
  }
}
