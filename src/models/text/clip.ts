import { z } from "zod";
import type { DeviceTensor } from "../../../ffi/index.ts";
import {
  type Activation,
  checkpointSource,
  type Linear,
  loadNetwork,
  Mlp,
  type Ops,
  type Parameters,
} from "../../nn/index.ts";
import type { Checkpoint } from "../../weights/checkpoint.ts";
import { checkSequences, embed } from "./sequences.ts";

/** transformers' names. */
const activations = {
  quick_gelu: "quickGelu",
  gelu: "geluErf",
  gelu_new: "geluTanh",
  gelu_pytorch_tanh: "geluTanh",
} as const satisfies Record<string, Activation>;

const configSchema = z
  .looseObject({
    vocab_size: z.int().positive(),
    hidden_size: z.int().positive(),
    intermediate_size: z.int().positive(),
    num_hidden_layers: z.int().positive(),
    num_attention_heads: z.int().positive(),
    max_position_embeddings: z.int().positive(),
    hidden_act: z.literal(["quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh"]).default("quick_gelu"),
    layer_norm_eps: z.number().positive().default(1e-5),
    eos_token_id: z.int().default(49407),
  })
  .refine(({ hidden_size, num_attention_heads }) => hidden_size % num_attention_heads === 0, {
    path: ["num_attention_heads"],
    error: "hidden_size must be a multiple of it",
  });

/** Configurations written before transformers 4.31 say 2, whatever the tokenizer's end token is. */
const LEGACY_EOS = 2;

interface Layer {
  readonly norm1: Linear;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly out: Linear;
  readonly norm2: Linear;
  readonly mlp: Mlp;
}

/** Owned by the caller. */
export interface ClipStates {
  /** [batch, tokens, width], after the final norm. */
  readonly lastHiddenState: DeviceTensor;
  /** [batch, width]: the state at the end token. */
  readonly pooled: DeviceTensor;
}

/** CLIP's text model (Radford et al. 2021, arXiv 2103.00020; transformers' `CLIPTextModel`). */
export class ClipTextModel implements Disposable {
  readonly maxTokens: number;
  readonly #ops: Ops;
  readonly #parameters: Parameters;
  readonly #config: z.output<typeof configSchema>;
  readonly #tokens: DeviceTensor;
  readonly #positions: DeviceTensor;
  readonly #layers: readonly Layer[];
  readonly #finalNorm: Linear;

  /**
   * Loads all parameters; waits for them.
   * @throws TamiasError `bad_weights` when configuration or tensors are not those of a CLIP text model
   */
  static load(ops: Ops, checkpoint: Checkpoint): ClipTextModel {
    // transformers 5 dropped the prefix that older checkpoints have.
    const prefix = checkpoint.has("text_model.final_layer_norm.weight") ? "text_model." : "";
    return loadNetwork(
      ops,
      checkpointSource(checkpoint),
      configSchema,
      (parameters, config) => new ClipTextModel(ops, parameters, config, prefix),
    );
  }

  private constructor(
    ops: Ops,
    parameters: Parameters,
    config: z.output<typeof configSchema>,
    prefix: string,
  ) {
    const { hidden_size: width, intermediate_size: hidden } = config;
    this.#ops = ops;
    this.#parameters = parameters;
    this.#config = config;
    this.maxTokens = config.max_position_embeddings;
    const embedding = (name: string, rows: number) =>
      parameters.tensor(`${prefix}embeddings.${name}_embedding.weight`, [rows, width]);
    this.#tokens = embedding("token", config.vocab_size);
    this.#positions = embedding("position", this.maxTokens);
    this.#layers = Array.from({ length: config.num_hidden_layers }, (_, index): Layer => {
      const at = `${prefix}encoder.layers.${index}`;
      const projection = (name: string) => parameters.linear(`${at}.self_attn.${name}_proj`, width, width);
      return {
        norm1: parameters.norm(`${at}.layer_norm1`, width),
        q: projection("q"),
        k: projection("k"),
        v: projection("v"),
        out: projection("out"),
        norm2: parameters.norm(`${at}.layer_norm2`, width),
        mlp: new Mlp(
          parameters,
          parameters.linear(`${at}.mlp.fc1`, width, hidden),
          parameters.linear(`${at}.mlp.fc2`, hidden, width),
          activations[config.hidden_act],
        ),
      };
    });
    this.#finalNorm = parameters.norm(`${prefix}final_layer_norm`, width);
  }

  /**
   * @param sequences token ids of equal length, at most `maxTokens`
   * @throws TamiasError `bad_input` for other sequences
   */
  encode(sequences: readonly Int32Array[]): ClipStates {
    const ops = this.#ops;
    const { hidden_size: width, num_attention_heads: heads, layer_norm_eps: epsilon } = this.#config;
    const batch = sequences.length;
    const tokens = checkSequences(sequences, { most: this.maxTokens, vocabulary: this.#config.vocab_size });

    using states = ops.memory.temporary([batch, tokens, width]);
    embed(ops, this.#tokens, sequences, states);
    ops.combine(
      1,
      states,
      1,
      this.#positions.slice(0, 0, tokens).reshape(1, tokens, width).expand(batch, tokens, width),
      states,
    );
    using normed = ops.memory.temporary(states.shape);
    using q = ops.memory.temporary(states.shape);
    using k = ops.memory.temporary(states.shape);
    using v = ops.memory.temporary(states.shape);
    using attended = ops.memory.temporary(states.shape);
    const byHead = (x: DeviceTensor) => x.reshape(batch, tokens, heads, width / heads).permute(0, 2, 1, 3);
    for (const layer of this.#layers) {
      ops.layerNorm(states, normed, epsilon, layer.norm1);
      ops.linear(normed, layer.q, q);
      ops.linear(normed, layer.k, k);
      ops.linear(normed, layer.v, v);
      ops.attention({ q: byHead(q), k: byHead(k), v: byHead(v) }, byHead(attended), {
        scale: (width / heads) ** -0.5,
        causal: true,
      });
      ops.linearAdd(attended, layer.out, states);
      ops.layerNorm(states, normed, epsilon, layer.norm2);
      layer.mlp.dense(ops, normed, attended);
      ops.combine(1, states, 1, attended, states);
    }
    const lastHiddenState = ops.memory.own(states.shape);
    ops.layerNorm(states, lastHiddenState, epsilon, this.#finalNorm);
    const pooled = ops.memory.own([batch, width]);
    sequences.forEach((ids, item) => {
      const end = this.#endPosition(ids);
      ops.copy(lastHiddenState.slice(0, item, item + 1).select(1, end), pooled.slice(0, item, item + 1));
    });
    return { lastHiddenState, pooled };
  }

  get parameterBytes(): number {
    return this.#parameters.bytes;
  }

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }

  /** Where the pooled state is read: the first end token, or with a legacy configuration the highest id. */
  #endPosition(ids: Int32Array): number {
    const eos = this.#config.eos_token_id;
    return Math.max(0, ids.indexOf(eos === LEGACY_EOS ? Math.max(...ids) : eos));
  }
}
