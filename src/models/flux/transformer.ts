import { z } from "zod";
import { type DeviceTensor, TamiasError } from "../../../ffi/index.ts";
import type { ModuleDescription } from "../../delta/cells.ts";
import { denseModules, type Modules } from "../../delta/modules.ts";
import {
  checkpointSource,
  type Linear,
  loadNetwork,
  Mlp,
  type NetworkSource,
  type Ops,
  type Parameters,
  type QueryKeyValue,
  type Rope,
} from "../../nn/index.ts";
import type { Checkpoint } from "../../weights/checkpoint.ts";
import { rotaryTables, timestepFeatures } from "./embeddings.ts";

const configSchema = z
  .object({
    _class_name: z.literal("FluxTransformer2DModel"),
    patch_size: z.literal(1).default(1),
    in_channels: z.int().positive(),
    out_channels: z.int().positive().nullish(),
    num_layers: z.int().nonnegative(),
    num_single_layers: z.int().nonnegative(),
    attention_head_dim: z.int().positive(),
    num_attention_heads: z.int().positive(),
    joint_attention_dim: z.int().positive(),
    pooled_projection_dim: z.int().positive(),
    guidance_embeds: z.boolean(),
    axes_dims_rope: z.array(z.int().positive().multipleOf(2)).length(3),
  })
  .refine(
    ({ axes_dims_rope: axes, attention_head_dim: headDim }) =>
      axes.reduce((sum, size) => sum + size, 0) === headDim,
    { path: ["axes_dims_rope"], error: "must add up to attention_head_dim" },
  );

const EPSILON = 1e-6;
const MLP_RATIO = 4;
/** Sinusoidal features of a timestep or guidance scale. */
const TIME_FEATURES = 256;

/** Where tokens stand: rotary tables for text then image, made once a run by `prepare`. */
export interface Positions extends Rope, Disposable {
  readonly textTokens: number;
  readonly imageTokens: number;
}

export interface FluxInput {
  /** [batch, imageTokens, inChannels]: packed latents. */
  readonly hidden: DeviceTensor;
  /** [batch, textTokens, jointDim]: T5 states. */
  readonly context: DeviceTensor;
  /** [batch, pooledDim]: CLIP's pooled state. */
  readonly pooled: DeviceTensor;
  /** Sigma in 0..1, one a batch item. */
  readonly timestep: readonly number[];
  /** Guidance scale, one a batch item; needed when the checkpoint was distilled with guidance. */
  readonly guidance?: readonly number[] | undefined;
  readonly positions: Positions;
  /** How attention and MLPs run; absent: dense. */
  readonly modules?: Modules | undefined;
}

/**
 * FLUX.1's transformer (black-forest-labs; diffusers' `FluxTransformer2DModel`). Text and image tokens live in one
 * buffer, text first: double-stream blocks work on its two parts with separate weights, single-stream blocks on all.
 */
export class FluxTransformer implements Disposable {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly jointDim: number;
  readonly pooledDim: number;
  readonly heads: number;
  readonly headDim: number;
  readonly usesGuidance: boolean;
  readonly #ops: Ops;
  readonly #parameters: Parameters;
  readonly #axes: readonly number[];
  readonly #imageEmbedder: Linear;
  readonly #textEmbedder: Linear;
  readonly #timeEmbedder: Embedder;
  readonly #guidanceEmbedder: Embedder | null;
  readonly #pooledEmbedder: Embedder;
  readonly #doubleBlocks: readonly DoubleBlock[];
  readonly #singleBlocks: readonly SingleBlock[];
  readonly #normOut: Linear;
  readonly #projOut: Linear;

  /**
   * Loads all parameters; waits for them.
   * @throws TamiasError `bad_weights` when configuration or tensors are not those of such a transformer
   */
  static load(ops: Ops, checkpoint: Checkpoint): FluxTransformer {
    return FluxTransformer.create(ops, checkpointSource(checkpoint));
  }

  /** A transformer from its configuration and any source of parameters. */
  static create(ops: Ops, source: NetworkSource): FluxTransformer {
    return loadNetwork(
      ops,
      source,
      configSchema,
      (parameters, config) => new FluxTransformer(ops, parameters, config),
    );
  }

  private constructor(ops: Ops, parameters: Parameters, config: z.output<typeof configSchema>) {
    this.#ops = ops;
    this.#parameters = parameters;
    this.inChannels = config.in_channels;
    this.outChannels = config.out_channels ?? config.in_channels;
    this.jointDim = config.joint_attention_dim;
    this.pooledDim = config.pooled_projection_dim;
    this.heads = config.num_attention_heads;
    this.headDim = config.attention_head_dim;
    this.usesGuidance = config.guidance_embeds;
    this.#axes = config.axes_dims_rope;
    const width = this.heads * this.headDim;
    this.#imageEmbedder = parameters.linear("x_embedder", this.inChannels, width);
    this.#textEmbedder = parameters.linear("context_embedder", this.jointDim, width);
    const embedder = (name: string, inputs: number) =>
      loadEmbedder(parameters, `time_text_embed.${name}`, inputs, width);
    this.#timeEmbedder = embedder("timestep_embedder", TIME_FEATURES);
    this.#guidanceEmbedder = this.usesGuidance ? embedder("guidance_embedder", TIME_FEATURES) : null;
    this.#pooledEmbedder = embedder("text_embedder", this.pooledDim);
    this.#doubleBlocks = Array.from({ length: config.num_layers }, (_, index) =>
      loadDoubleBlock(parameters, `transformer_blocks.${index}`, width, this.headDim),
    );
    this.#singleBlocks = Array.from({ length: config.num_single_layers }, (_, index) =>
      loadSingleBlock(parameters, `single_transformer_blocks.${index}`, width, this.headDim),
    );
    this.#normOut = parameters.linear("norm_out.linear", width, 2 * width);
    this.#projOut = parameters.linear("proj_out", width, this.outChannels);
  }

  /** Blocks, double-stream blocks first; each holds an attention and an MLP module. */
  get layers(): number {
    return this.#doubleBlocks.length + this.#singleBlocks.length;
  }

  /** The modules of an evaluation; the text stream's MLP in a double-stream block is none of them. */
  modules({ textTokens, imageTokens }: Pick<Positions, "textTokens" | "imageTokens">): ModuleDescription[] {
    const { heads, headDim, width } = this;
    const tokens = textTokens + imageTokens;
    const all = [...this.#doubleBlocks.map(({ image }) => image), ...this.#singleBlocks];
    return all.flatMap(({ mlp }, layer): ModuleDescription[] => {
      const mlpTokens = layer < this.#doubleBlocks.length ? imageTokens : tokens;
      return [
        { layer, id: "block", kind: "block", tokens, width },
        { layer, id: "attention", kind: "attention", heads, queries: tokens, keys: tokens, headDim },
        { layer, id: "mlp", kind: "mlp", tokens: mlpTokens, width, hidden: mlp.hidden, outputs: width },
      ];
    });
  }

  /** Width of a token. */
  get width(): number {
    return this.heads * this.headDim;
  }

  get parameterBytes(): number {
    return this.#parameters.bytes;
  }

  /**
   * Rotary tables of a run.
   * @param textIds, imageIds positions (time, row, column) of each token, Float32Array [tokens * 3]
   */
  prepare({ textIds, imageIds }: { textIds: Float32Array; imageIds: Float32Array }): Positions {
    const tokens = (textIds.length + imageIds.length) / 3;
    const tables = rotaryTables([textIds, imageIds], this.#axes);
    const cos = this.#ops.memory.persistent([tokens, this.headDim / 2], "f32");
    const sin = this.#ops.memory.persistent([tokens, this.headDim / 2], "f32");
    this.#ops.stream.write(cos, tables.cos);
    this.#ops.stream.write(sin, tables.sin);
    return {
      cos,
      sin,
      textTokens: textIds.length / 3,
      imageTokens: imageIds.length / 3,
      [Symbol.dispose]() {
        cos[Symbol.dispose]();
        sin[Symbol.dispose]();
      },
    };
  }

  /**
   * One evaluation: the velocity of each packed latent.
   * @param out [batch, imageTokens, outChannels]
   */
  forward(input: FluxInput, out: DeviceTensor): void {
    const { hidden, context, positions, modules = denseModules(this.#ops) } = input;
    const ops = this.#ops;
    const batch = hidden.shape[0] ?? 0;
    const { textTokens, imageTokens } = positions;
    using states = ops.memory.temporary([batch, textTokens + imageTokens, this.width]);
    const text = states.slice(1, 0, textTokens);
    const image = states.slice(1, textTokens, textTokens + imageTokens);
    ops.linear(context, this.#textEmbedder, text);
    ops.linear(hidden, this.#imageEmbedder, image);

    using conditioning = ops.memory.temporary([batch, this.width]);
    this.#condition(input, conditioning);
    const run: LayerRun = { ops, modules, positions, conditioning, heads: this.heads, headDim: this.headDim };
    modules.blocks(
      states,
      [
        ...this.#doubleBlocks.map((block, layer) => () => runDoubleBlock(run, layer, block, text, image)),
        ...this.#singleBlocks.map(
          (block, index) => () => runSingleBlock(run, this.#doubleBlocks.length + index, block, states),
        ),
      ],
      { modulatedInput: () => this.#modulatedInput(run, image) },
    );

    using modulation = ops.memory.temporary([batch, 2 * this.width]);
    ops.linear(conditioning, this.#normOut, modulation);
    const [scale, shift] = chunks(modulation, 2);
    using normed = ops.memory.temporary([batch, imageTokens, this.width]);
    ops.layerNorm(image, normed, EPSILON, { scale: scale!, shift: shift! });
    ops.linear(normed, this.#projOut, out);
  }

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }

  /** What the first block's modulated norm makes of the image tokens; a temporary. */
  #modulatedInput({ ops, conditioning }: LayerRun, image: DeviceTensor): DeviceTensor {
    const [batch = 0] = image.shape;
    const layer = this.#doubleBlocks[0]?.image.modulation ?? this.#singleBlocks[0]!.modulation;
    using modulation = ops.memory.temporary([batch, layer.weight.shape[0] ?? 0]);
    ops.linear(conditioning, layer, modulation);
    const [shift, scale] = chunks(modulation, modulation.shape[1]! / this.width);
    const modulated = ops.memory.temporary(image.shape);
    ops.layerNorm(image, modulated, EPSILON, { scale: scale!, shift: shift! });
    return modulated;
  }

  /** SiLU of the sum of the embedded timestep, guidance and pooled text: what every modulation layer reads. */
  #condition({ timestep, guidance, pooled }: FluxInput, out: DeviceTensor): void {
    const ops = this.#ops;
    runEmbedder(ops, this.#pooledEmbedder, pooled, out);
    const add = (embedder: Embedder, values: readonly number[]) => {
      using features = ops.memory.temporary([values.length, TIME_FEATURES], "f32");
      ops.stream.write(
        features,
        timestepFeatures(
          values.map((value) => value * 1000),
          TIME_FEATURES,
        ),
      );
      using typed = ops.memory.temporary(features.shape);
      ops.copy(features, typed);
      using embedded = ops.memory.temporary(out.shape);
      runEmbedder(ops, embedder, typed, embedded);
      ops.combine(1, out, 1, embedded, out);
    };
    add(this.#timeEmbedder, timestep);
    if (this.#guidanceEmbedder) {
      if (!guidance)
        throw new TamiasError(
          "bad_input",
          "This checkpoint needs a guidance scale (guidance_embeds is true).",
        );
      add(this.#guidanceEmbedder, guidance);
    }
    ops.activate("silu", out);
  }
}

/** What stays the same for all layers of one evaluation. */
interface LayerRun {
  readonly ops: Ops;
  readonly modules: Modules;
  readonly positions: Positions;
  /** [batch, width] */
  readonly conditioning: DeviceTensor;
  readonly heads: number;
  readonly headDim: number;
}

// ---- double-stream block: text and image have their own weights and meet in attention

interface DoubleBlock {
  readonly image: StreamWeights;
  readonly text: StreamWeights;
}

/** One stream's half of a double block. */
interface StreamWeights {
  readonly modulation: Linear;
  readonly projections: Projections;
  readonly attentionOut: Linear;
  readonly mlp: Mlp;
}

function loadDoubleBlock(
  parameters: Parameters,
  prefix: string,
  width: number,
  headDim: number,
): DoubleBlock {
  const mlp = (name: string) => {
    const fc1 = parameters.linear(`${prefix}.${name}.net.0.proj`, width, MLP_RATIO * width);
    const part = { columns: MLP_RATIO * width, isTransposed: true };
    const [weight] = parameters.weightColumns(`${prefix}.${name}.net.2.weight`, width, [part]);
    const bias = parameters.tensor(`${prefix}.${name}.net.2.bias`, [width]);
    return new Mlp(parameters, fc1, { weight: weight!, bias }, "geluTanh");
  };
  return {
    image: {
      modulation: parameters.linear(`${prefix}.norm1.linear`, width, 6 * width),
      projections: loadProjections(parameters, `${prefix}.attn`, width, headDim, {
        q: "to_q",
        k: "to_k",
        v: "to_v",
        normQ: "norm_q",
        normK: "norm_k",
      }),
      attentionOut: parameters.linear(`${prefix}.attn.to_out.0`, width, width),
      mlp: mlp("ff"),
    },
    text: {
      modulation: parameters.linear(`${prefix}.norm1_context.linear`, width, 6 * width),
      projections: loadProjections(parameters, `${prefix}.attn`, width, headDim, {
        q: "add_q_proj",
        k: "add_k_proj",
        v: "add_v_proj",
        normQ: "norm_added_q",
        normK: "norm_added_k",
      }),
      attentionOut: parameters.linear(`${prefix}.attn.to_add_out`, width, width),
      mlp: mlp("ff_context"),
    },
  };
}

function runDoubleBlock(
  run: LayerRun,
  layer: number,
  block: DoubleBlock,
  text: DeviceTensor,
  image: DeviceTensor,
): void {
  const { ops, modules, positions, conditioning } = run;
  const [batch = 0, imageTokens = 0, width = 0] = image.shape;
  const { textTokens } = positions;
  const tokens = textTokens + imageTokens;
  using textModulation = ops.memory.temporary([batch, 6 * width]);
  using imageModulation = ops.memory.temporary([batch, 6 * width]);
  ops.linear(conditioning, block.text.modulation, textModulation);
  ops.linear(conditioning, block.image.modulation, imageModulation);
  const streams = [
    { states: text, weights: block.text, modulation: modulationOf(textModulation), from: 0, to: textTokens },
    {
      states: image,
      weights: block.image,
      modulation: modulationOf(imageModulation),
      from: textTokens,
      to: tokens,
    },
  ];

  using projected = new ProjectedTokens(run, batch, tokens);
  using attended = ops.memory.temporary([batch, tokens, width]);
  const project = () => {
    for (const { states, weights, modulation, from, to } of streams) {
      using normed = ops.memory.temporary([batch, to - from, width]);
      ops.layerNorm(states, normed, EPSILON, {
        scale: modulation.attentionScale,
        shift: modulation.attentionShift,
      });
      projected.fill(weights.projections, normed, from, to);
    }
    return projected.views();
  };
  modules.attention(layer, project, run.headDim ** -0.5, splitHeads(attended, run.heads));

  using inputs = new DisposableStack();
  const [textInput, imageInput] = streams.map(({ states, weights, modulation, from, to }) => {
    using change = ops.memory.temporary([batch, to - from, width]);
    ops.linear(attended.slice(1, from, to), weights.attentionOut, change);
    ops.gateResidual(states, modulation.attentionGate, change);
    const normed = inputs.use(ops.memory.temporary([batch, to - from, width]));
    ops.layerNorm(states, normed, EPSILON, { scale: modulation.mlpScale, shift: modulation.mlpShift });
    return normed;
  });
  // Chosen beside the text stream's MLP, which is a group or a few: always dense.
  modules.prepareMlp(layer, imageInput!, block.image.mlp);
  for (const { states, weights, modulation, from, to } of streams) {
    using change = ops.memory.temporary([batch, to - from, width]);
    if (states === text) weights.mlp.dense(ops, textInput!, change);
    else modules.mlp(layer, imageInput!, weights.mlp, change);
    ops.gateResidual(states, modulation.mlpGate, change);
  }
}

// ---- single-stream block: attention and MLP side by side on all tokens

interface SingleBlock {
  readonly modulation: Linear;
  readonly projections: Projections;
  /** The attention half of the output layer; its bias belongs to the MLP half. */
  readonly attentionOut: Linear;
  readonly mlp: Mlp;
}

function loadSingleBlock(
  parameters: Parameters,
  prefix: string,
  width: number,
  headDim: number,
): SingleBlock {
  const hidden = MLP_RATIO * width;
  const [attentionOut, mlpOut] = parameters.weightColumns(`${prefix}.proj_out.weight`, width, [
    { columns: width },
    { columns: hidden, isTransposed: true },
  ]);
  return {
    modulation: parameters.linear(`${prefix}.norm.linear`, width, 3 * width),
    projections: loadProjections(parameters, `${prefix}.attn`, width, headDim, {
      q: "to_q",
      k: "to_k",
      v: "to_v",
      normQ: "norm_q",
      normK: "norm_k",
    }),
    attentionOut: { weight: attentionOut!, bias: null },
    mlp: new Mlp(
      parameters,
      parameters.linear(`${prefix}.proj_mlp`, width, hidden),
      { weight: mlpOut!, bias: parameters.tensor(`${prefix}.proj_out.bias`, [width]) },
      "geluTanh",
    ),
  };
}

function runSingleBlock(run: LayerRun, layer: number, block: SingleBlock, states: DeviceTensor): void {
  const { ops, modules, conditioning } = run;
  const [batch = 0, tokens = 0, width = 0] = states.shape;
  using modulation = ops.memory.temporary([batch, 3 * width]);
  ops.linear(conditioning, block.modulation, modulation);
  const [shift, scale, gate] = chunks(modulation, 3);
  using normed = ops.memory.temporary(states.shape);
  ops.layerNorm(states, normed, EPSILON, { scale: scale!, shift: shift! });

  modules.prepareMlp(layer, normed, block.mlp);

  using projected = new ProjectedTokens(run, batch, tokens);
  using attended = ops.memory.temporary(states.shape);
  const project = () => {
    projected.fill(block.projections, normed, 0, tokens);
    return projected.views();
  };
  modules.attention(layer, project, run.headDim ** -0.5, splitHeads(attended, run.heads));

  using change = ops.memory.temporary(states.shape);
  modules.mlp(layer, normed, block.mlp, change);
  ops.linearAdd(attended, block.attentionOut, change);
  ops.gateResidual(states, gate!, change);
}

// ---- shared pieces

/** Layers that make queries, keys and values of one stream, with the RMS norms of each head. */
interface Projections {
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  /** [headDim] */
  readonly normQ: DeviceTensor;
  readonly normK: DeviceTensor;
}

function loadProjections(
  parameters: Parameters,
  prefix: string,
  width: number,
  headDim: number,
  names: Record<keyof Projections, string>,
): Projections {
  return {
    q: parameters.linear(`${prefix}.${names.q}`, width, width),
    k: parameters.linear(`${prefix}.${names.k}`, width, width),
    v: parameters.linear(`${prefix}.${names.v}`, width, width),
    normQ: parameters.tensor(`${prefix}.${names.normQ}.weight`, [headDim]),
    normK: parameters.tensor(`${prefix}.${names.normK}.weight`, [headDim]),
  };
}

/** Buffers for the queries, keys and values of all tokens, [batch, tokens, width] each. */
class ProjectedTokens implements Disposable {
  readonly #run: LayerRun;
  readonly #q: DeviceTensor;
  readonly #k: DeviceTensor;
  readonly #v: DeviceTensor;

  constructor(run: LayerRun, batch: number, tokens: number) {
    const shape = [batch, tokens, run.heads * run.headDim];
    this.#run = run;
    this.#q = run.ops.memory.temporary(shape);
    this.#k = run.ops.memory.temporary(shape);
    this.#v = run.ops.memory.temporary(shape);
  }

  /** Projects tokens from..to-1, then normalises and rotates their queries and keys. */
  fill({ q, k, v, normQ, normK }: Projections, normed: DeviceTensor, from: number, to: number): void {
    const { ops, positions, heads } = this.#run;
    const rope = { cos: positions.cos.slice(0, from, to), sin: positions.sin.slice(0, from, to) };
    ops.linear(normed, v, this.#v.slice(1, from, to));
    for (const [layer, weight, buffer] of [
      [q, normQ, this.#q],
      [k, normK, this.#k],
    ] as const) {
      const rows = buffer.slice(1, from, to);
      ops.linear(normed, layer, rows);
      const byHead = splitHeads(rows, heads);
      ops.normRope(byHead, byHead, { weight, epsilon: EPSILON, rope });
    }
  }

  views(): QueryKeyValue {
    const { heads } = this.#run;
    return { q: splitHeads(this.#q, heads), k: splitHeads(this.#k, heads), v: splitHeads(this.#v, heads) };
  }

  [Symbol.dispose](): void {
    this.#q[Symbol.dispose]();
    this.#k[Symbol.dispose]();
    this.#v[Symbol.dispose]();
  }
}

/** [batch, tokens, heads * headDim] seen as [batch, heads, tokens, headDim]. */
function splitHeads(rows: DeviceTensor, heads: number): DeviceTensor {
  const [batch = 0, tokens = 0, width = 0] = rows.shape;
  return rows.reshape(batch, tokens, heads, width / heads).permute(0, 2, 1, 3);
}

function modulationOf(modulation: DeviceTensor) {
  const [attentionShift, attentionScale, attentionGate, mlpShift, mlpScale, mlpGate] = chunks(modulation, 6);
  return {
    attentionShift: attentionShift!,
    attentionScale: attentionScale!,
    attentionGate: attentionGate!,
    mlpShift: mlpShift!,
    mlpScale: mlpScale!,
    mlpGate: mlpGate!,
  };
}

/** [batch, count * width] cut into `count` views [batch, width]. */
function chunks(modulation: DeviceTensor, count: number): DeviceTensor[] {
  const width = (modulation.shape[1] ?? 0) / count;
  return Array.from({ length: count }, (_, index) => modulation.slice(1, index * width, (index + 1) * width));
}

/** linear, SiLU, linear */
interface Embedder {
  readonly first: Linear;
  readonly second: Linear;
}

function loadEmbedder(parameters: Parameters, prefix: string, inputs: number, width: number): Embedder {
  return {
    first: parameters.linear(`${prefix}.linear_1`, inputs, width),
    second: parameters.linear(`${prefix}.linear_2`, width, width),
  };
}

function runEmbedder(ops: Ops, embedder: Embedder, x: DeviceTensor, out: DeviceTensor): void {
  using hidden = ops.memory.temporary(out.shape);
  ops.linear(x, embedder.first, hidden, "silu");
  ops.linear(hidden, embedder.second, out);
}
