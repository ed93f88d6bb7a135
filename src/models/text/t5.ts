import { z } from "zod";
import type { DeviceTensor } from "../../../ffi/index.ts";
import { checkpointParameters, type Activation, type Linear, type Ops, Parameters } from "../../nn/index.ts";
import type { Checkpoint } from "../../weights/checkpoint.ts";
import { parseWith } from "../../weights/json-file.ts";
import { readTensorFloat32 } from "../../weights/read-tensor.ts";
import { checkSequences, embed } from "./sequences.ts";

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
  /** Float32 [buckets, heads] */
  readonly #distanceBias: Float32Array;
  readonly #layers: readonly Layer[];
  readonly #finalNorm: DeviceTensor;
  readonly #activation: Activation;

  /**
   * Queues the loading of all parameters on the ops' stream.
   * @throws TamiasError `bad_weights` when configuration or tensors are not those of a gated T5 encoder
   */
  static async load(ops: Ops, checkpoint: Checkpoint): Promise<T5Encoder> {
    const config = parseWith(configSchema, checkpoint.config, `${checkpoint.folder}/config.json`);
    const bias = checkpoint.get("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [
      config.relative_attention_num_buckets,
      config.num_heads,
    ]);
    const distanceBias = await readTensorFloat32(bias);
    const scale = checkpoint.scaleOf(bias.name);
    if (scale) {
      const scales = await readTensorFloat32(scale);
      distanceBias.forEach((value, at) => {
        distanceBias[at] = value * scales[scales.length === 1 ? 0 : Math.floor(at / config.num_heads)]!;
      });
    }
    using cleanup = new DisposableStack();
    const parameters = cleanup.use(new Parameters(ops, checkpointParameters(checkpoint)));
    const model = new T5Encoder(ops, parameters, config, distanceBias);
    cleanup.move();
    return model;
  }

  private constructor(
    ops: Ops,
    parameters: Parameters,
    config: z.output<typeof configSchema>,
    distanceBias: Float32Array,
  ) {
    const { d_model: width, d_ff: hidden } = config;
    const inner = config.num_heads * config.d_kv;
    this.#ops = ops;
    this.#parameters = parameters;
    this.#config = config;
    this.#distanceBias = distanceBias;
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
    using bias = ops.memory.temporary([heads, tokens, tokens], "f32");
    ops.stream.write(bias, this.#positionBias(tokens));

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

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }

  /** Float32Array [heads, queries, keys] */
  #positionBias(tokens: number): Float32Array {
    const { num_heads: heads } = this.#config;
    // By distance key - query, from -(tokens - 1) to tokens - 1.
    const buckets = Array.from({ length: 2 * tokens - 1 }, (_, at) => this.#bucket(at - (tokens - 1)));
    const bias = new Float32Array(heads * tokens * tokens);
    let at = 0;
    for (let head = 0; head < heads; head++)
      for (let query = 0; query < tokens; query++)
        for (let key = 0; key < tokens; key++)
          bias[at++] = this.#distanceBias[buckets[key - query + tokens - 1]! * heads + head]!;
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
