import { z } from "zod";
import { type DeviceTensor, type DType, TamiasError } from "../../ffi/index.ts";
import { checkpointParameters, type Convolution, type Linear, type Ops, Parameters } from "../nn/index.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { parseWith } from "../weights/json-file.ts";

const configSchema = z.looseObject({
  _class_name: z.literal("AutoencoderKL"),
  in_channels: z.literal(3).default(3),
  out_channels: z.literal(3).default(3),
  block_out_channels: z.array(z.int().positive()).min(1),
  layers_per_block: z.int().positive(),
  latent_channels: z.int().positive(),
  norm_num_groups: z.int().positive(),
  act_fn: z.literal("silu").default("silu"),
  sample_size: z.int().positive().default(1024),
  scaling_factor: z.number().default(1),
  shift_factor: z.number().nullish(),
  latents_mean: z.null().optional(),
  latents_std: z.null().optional(),
  mid_block_add_attention: z.boolean().default(true),
  use_quant_conv: z.boolean().default(true),
  use_post_quant_conv: z.boolean().default(true),
  down_block_types: z.array(z.literal("DownEncoderBlock2D")),
  up_block_types: z.array(z.literal("UpDecoderBlock2D")),
});

const EPSILON = 1e-6;

/**
 * The convolutional autoencoder of latent diffusion (Rombach et al. 2022, arXiv 2112.10752; diffusers' `AutoencoderKL`).
 * Pictures are [batch, 3, height, width] in [-1, 1], latents [batch, latentChannels, height / factor, width / factor].
 */
export class AutoencoderKL implements Disposable {
  readonly latentChannels: number;
  /** Picture pixels along each side of a latent pixel. */
  readonly factor: number;
  /** Width and height in pixels the model was trained at. */
  readonly sampleSize: number;
  /** Diffusion works on (latents - shift) * scale. */
  readonly scale: number;
  readonly shift: number;
  readonly #ops: Ops;
  readonly #parameters: Parameters;
  readonly #encoder: Encoder;
  readonly #decoder: Decoder;

  static load(ops: Ops, checkpoint: Checkpoint): AutoencoderKL {
    const config = parseWith(configSchema, checkpoint.config, `${checkpoint.folder}/config.json`);
    const blocks = config.block_out_channels.length;
    if (config.down_block_types.length !== blocks || config.up_block_types.length !== blocks)
      throw new TamiasError(
        "bad_weights",
        `${checkpoint.folder}/config.json: the lists of blocks differ in length.`,
      );
    using cleanup = new DisposableStack();
    const autoencoder = new AutoencoderKL(
      ops,
      cleanup.use(new Parameters(ops, checkpointParameters(checkpoint))),
      config,
    );
    cleanup.move();
    return autoencoder;
  }

  private constructor(ops: Ops, parameters: Parameters, config: z.output<typeof configSchema>) {
    this.#ops = ops;
    this.#parameters = parameters;
    this.latentChannels = config.latent_channels;
    this.factor = 2 ** (config.block_out_channels.length - 1);
    this.sampleSize = config.sample_size;
    this.scale = config.scaling_factor;
    this.shift = config.shift_factor ?? 0;
    const loader = new LayerLoader(parameters, config.norm_num_groups);
    this.#encoder = loadEncoder(loader, config);
    this.#decoder = loadDecoder(loader, config);
  }

  /**
   * Latents as the decoder takes them to a picture.
   * @returns F32 [batch, 3, height * factor, width * factor], owned by the caller
   */
  decode(latents: DeviceTensor): DeviceTensor {
    const decoder = this.#decoder;
    let x = new Feature(this.#ops, latents).as(this.#ops.activationType);
    if (decoder.postQuant) x = x.convolve(decoder.postQuant);
    x = x.convolve(decoder.convIn);
    x = runMiddle(x, decoder.middle);
    for (const { resnets, upsample } of decoder.blocks) {
      for (const resnet of resnets) x = runResnet(x, resnet);
      if (upsample) x = x.upsample().convolve(upsample);
    }
    return x.normalise(decoder.normOut).convolve(decoder.convOut).as("f32").tensor;
  }

  /** Diffusion's latents to a picture: undoes scale and shift, then `decode`. */
  decodeScaled(latents: DeviceTensor): DeviceTensor {
    using shift = this.#ops.memory.temporary([1, 1, 1, 1], latents.dtype);
    this.#ops.fill(shift, this.shift);
    using plain = this.#ops.memory.temporary(latents.shape);
    this.#ops.combine(1 / this.scale, latents, 1, shift.expand(...latents.shape), plain);
    return this.decode(plain);
  }

  /**
   * A picture to the mean of its latent distribution, without scale and shift.
   * @param picture [batch, 3, height, width], both sides multiples of `factor`
   * @returns F32 [batch, latentChannels, height / factor, width / factor], owned by the caller
   */
  encode(picture: DeviceTensor): DeviceTensor {
    const ops = this.#ops;
    const encoder = this.#encoder;
    const [batch = 0, , height = 0, width = 0] = picture.shape;
    if (height % this.factor !== 0 || width % this.factor !== 0)
      throw new TamiasError(
        "bad_input",
        `A picture of ${width} x ${height} pixels cannot be encoded: both sides must be multiples of ${this.factor}.`,
      );
    let x = new Feature(ops, picture).as(ops.activationType).convolve(encoder.convIn);
    for (const { resnets, downsample } of encoder.blocks) {
      for (const resnet of resnets) x = runResnet(x, resnet);
      if (downsample) x = x.downsample(downsample);
    }
    x = runMiddle(x, encoder.middle);
    x = x.normalise(encoder.normOut).convolve(encoder.convOut);
    if (encoder.quant) x = x.convolve(encoder.quant);
    using moments = x.tensor;
    const mean = ops.memory.temporary(
      [batch, this.latentChannels, height / this.factor, width / this.factor],
      "f32",
    );
    ops.copy(moments.slice(1, 0, this.latentChannels), mean);
    return mean;
  }

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }
}

// ---- the network's parts

interface Encoder {
  readonly convIn: Convolution;
  readonly blocks: readonly {
    readonly resnets: readonly Resnet[];
    readonly downsample: Convolution | null;
  }[];
  readonly middle: Middle;
  readonly normOut: Norm;
  readonly convOut: Convolution;
  readonly quant: Convolution | null;
}

interface Decoder {
  readonly postQuant: Convolution | null;
  readonly convIn: Convolution;
  readonly middle: Middle;
  readonly blocks: readonly { readonly resnets: readonly Resnet[]; readonly upsample: Convolution | null }[];
  readonly normOut: Norm;
  readonly convOut: Convolution;
}

interface Norm {
  readonly groups: number;
  readonly weights: Linear;
}

interface Resnet {
  readonly norm1: Norm;
  readonly conv1: Convolution;
  readonly norm2: Norm;
  readonly conv2: Convolution;
  /** Where the number of channels changes. */
  readonly shortcut: Convolution | null;
}

interface Middle {
  readonly first: Resnet;
  readonly attention: PixelAttention | null;
  readonly second: Resnet;
}

/** Self-attention of all pixels, one head. */
interface PixelAttention {
  readonly norm: Norm;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly out: Linear;
}

function loadEncoder(loader: LayerLoader, config: z.output<typeof configSchema>): Encoder {
  const channels = config.block_out_channels;
  const last = channels.at(-1)!;
  const moments = 2 * config.latent_channels;
  return {
    convIn: loader.convolution("encoder.conv_in", 3, channels[0]!),
    blocks: channels.map((out, block) => ({
      resnets: Array.from({ length: config.layers_per_block }, (_, layer) =>
        loader.resnet(
          `encoder.down_blocks.${block}.resnets.${layer}`,
          layer === 0 ? (channels[block - 1] ?? channels[0]!) : out,
          out,
        ),
      ),
      downsample:
        block === channels.length - 1
          ? null
          : loader.convolution(`encoder.down_blocks.${block}.downsamplers.0.conv`, out, out),
    })),
    middle: loader.middle("encoder.mid_block", last, config.mid_block_add_attention),
    normOut: loader.norm("encoder.conv_norm_out", last),
    convOut: loader.convolution("encoder.conv_out", last, moments),
    quant: config.use_quant_conv ? loader.convolution("quant_conv", moments, moments, 1) : null,
  };
}

function loadDecoder(loader: LayerLoader, config: z.output<typeof configSchema>): Decoder {
  const channels = config.block_out_channels.toReversed();
  const latent = config.latent_channels;
  return {
    postQuant: config.use_post_quant_conv ? loader.convolution("post_quant_conv", latent, latent, 1) : null,
    convIn: loader.convolution("decoder.conv_in", latent, channels[0]!),
    middle: loader.middle("decoder.mid_block", channels[0]!, config.mid_block_add_attention),
    blocks: channels.map((out, block) => ({
      resnets: Array.from({ length: config.layers_per_block + 1 }, (_, layer) =>
        loader.resnet(
          `decoder.up_blocks.${block}.resnets.${layer}`,
          layer === 0 ? (channels[block - 1] ?? channels[0]!) : out,
          out,
        ),
      ),
      upsample:
        block === channels.length - 1
          ? null
          : loader.convolution(`decoder.up_blocks.${block}.upsamplers.0.conv`, out, out),
    })),
    normOut: loader.norm("decoder.conv_norm_out", channels.at(-1)!),
    convOut: loader.convolution("decoder.conv_out", channels.at(-1)!, 3),
  };
}

class LayerLoader {
  readonly #parameters: Parameters;
  readonly #groups: number;

  constructor(parameters: Parameters, groups: number) {
    this.#parameters = parameters;
    this.#groups = groups;
  }

  convolution(prefix: string, from: number, to: number, kernel = 3): Convolution {
    return this.#parameters.convolution(prefix, from, to, kernel);
  }

  norm(prefix: string, channels: number): Norm {
    return { groups: this.#groups, weights: this.#parameters.norm(prefix, channels) };
  }

  resnet(prefix: string, from: number, to: number): Resnet {
    return {
      norm1: this.norm(`${prefix}.norm1`, from),
      conv1: this.convolution(`${prefix}.conv1`, from, to),
      norm2: this.norm(`${prefix}.norm2`, to),
      conv2: this.convolution(`${prefix}.conv2`, to, to),
      shortcut: from === to ? null : this.convolution(`${prefix}.conv_shortcut`, from, to, 1),
    };
  }

  middle(prefix: string, channels: number, hasAttention: boolean): Middle {
    return {
      first: this.resnet(`${prefix}.resnets.0`, channels, channels),
      attention: hasAttention ? this.#attention(`${prefix}.attentions.0`, channels) : null,
      second: this.resnet(`${prefix}.resnets.1`, channels, channels),
    };
  }

  #attention(prefix: string, channels: number): PixelAttention {
    const linear = (name: string) => this.#parameters.linear(`${prefix}.${name}`, channels, channels);
    return {
      norm: this.norm(`${prefix}.group_norm`, channels),
      q: linear("to_q"),
      k: linear("to_k"),
      v: linear("to_v"),
      out: linear("to_out.0"),
    };
  }
}

// ---- running them

/** A feature map [batch, channels, height, width] on its way: each operation returns the next and frees its own. */
class Feature {
  readonly ops: Ops;
  readonly tensor: DeviceTensor;
  /** The caller's input is read, never freed. */
  readonly #isOwned: boolean;

  constructor(ops: Ops, tensor: DeviceTensor, isOwned = false) {
    this.ops = ops;
    this.tensor = tensor;
    this.#isOwned = isOwned;
  }

  /** In another dtype; itself where it has that already. */
  as(dtype: DType): Feature {
    if (this.tensor.dtype === dtype) return this;
    return this.#next(this.tensor.shape, (out) => this.ops.copy(this.tensor, out), dtype);
  }

  /** Same size out, zeros around. */
  convolve(layer: Convolution): Feature {
    const [batch = 0, , height = 0, width = 0] = this.tensor.shape;
    const [channels = 0, , kernel = 1] = layer.weight.shape;
    return this.#next([batch, channels, height, width], (out) =>
      this.ops.conv2d(this.tensor, layer, out, { pad: (kernel - 1) / 2 }),
    );
  }

  /** Half the size; zeros are added at the bottom and right only. */
  downsample(layer: Convolution): Feature {
    const [batch = 0, channels = 0, height = 0, width = 0] = this.tensor.shape;
    const size = (side: number) => Math.floor((side - 2) / 2) + 1;
    return this.#next([batch, channels, size(height), size(width)], (out) =>
      this.ops.conv2d(this.tensor, layer, out, { stride: 2, pad: { top: 0, bottom: 1, left: 0, right: 1 } }),
    );
  }

  upsample(): Feature {
    const [batch = 0, channels = 0, height = 0, width = 0] = this.tensor.shape;
    return this.#next([batch, channels, 2 * height, 2 * width], (out) =>
      this.ops.upsampleNearest(this.tensor, 2, out),
    );
  }

  /** Group norm and SiLU. */
  normalise({ groups, weights }: Norm): Feature {
    return this.#next(this.tensor.shape, (out) =>
      this.ops.groupNorm(this.tensor, groups, weights, EPSILON, out, { activation: "silu" }),
    );
  }

  /** Adds another feature map of the same shape, in place; frees it. */
  add(other: Feature): Feature {
    this.ops.combine(1, this.tensor, 1, other.tensor, this.tensor);
    other.free();
    return this;
  }

  /** A view that shares the tensor without owning it. */
  borrowed(): Feature {
    return new Feature(this.ops, this.tensor);
  }

  free(): void {
    if (this.#isOwned) this.tensor[Symbol.dispose]();
  }

  #next(shape: readonly number[], run: (out: DeviceTensor) => void, dtype?: DType): Feature {
    const out = this.ops.memory.temporary(shape, dtype);
    run(out);
    this.free();
    return new Feature(this.ops, out, true);
  }
}

function runResnet(x: Feature, resnet: Resnet): Feature {
  const change = x
    .borrowed()
    .normalise(resnet.norm1)
    .convolve(resnet.conv1)
    .normalise(resnet.norm2)
    .convolve(resnet.conv2);
  return change.add(resnet.shortcut ? x.convolve(resnet.shortcut) : x);
}

function runMiddle(x: Feature, { first, attention, second }: Middle): Feature {
  const before = runResnet(x, first);
  return runResnet(attention ? runAttention(before, attention) : before, second);
}

function runAttention(x: Feature, layer: PixelAttention): Feature {
  const { ops } = x;
  const [batch = 0, channels = 0, height = 0, width = 0] = x.tensor.shape;
  const pixels = height * width;
  using normed = ops.memory.temporary(x.tensor.shape);
  ops.groupNorm(x.tensor, layer.norm.groups, layer.norm.weights, EPSILON, normed);
  const rows = [batch, pixels, channels];
  using tokens = ops.memory.temporary(rows);
  ops.copy(normed.reshape(batch, channels, pixels).permute(0, 2, 1), tokens);
  using q = ops.memory.temporary(rows);
  using k = ops.memory.temporary(rows);
  using v = ops.memory.temporary(rows);
  ops.linear(tokens, layer.q, q);
  ops.linear(tokens, layer.k, k);
  ops.linear(tokens, layer.v, v);
  const oneHead = (tensor: DeviceTensor) => tensor.reshape(batch, 1, pixels, channels);
  ops.attention({ q: oneHead(q), k: oneHead(k), v: oneHead(v) }, oneHead(tokens), {
    scale: channels ** -0.5,
  });
  ops.linear(tokens, layer.out, q);
  const change = ops.memory.temporary(x.tensor.shape);
  ops.copy(q.permute(0, 2, 1), change.reshape(batch, channels, pixels));
  return new Feature(ops, change, true).add(x);
}
