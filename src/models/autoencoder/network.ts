import { z } from "zod";
import type { Convolution, Linear, Parameters } from "../../nn/index.ts";

export const configSchema = z
  .looseObject({
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
  })
  .refine(
    ({ block_out_channels: { length }, down_block_types, up_block_types }) =>
      down_block_types.length === length && up_block_types.length === length,
    { error: "the lists of blocks differ in length" },
  );

export type AutoencoderConfig = z.output<typeof configSchema>;

export interface Encoder {
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

export interface Decoder {
  readonly postQuant: Convolution | null;
  readonly convIn: Convolution;
  readonly middle: Middle;
  /** What follows the middle, in order. */
  readonly steps: readonly DecoderStep[];
}

/** One step of the decoder's growing part. Only up-sampling changes height and width: it doubles them. */
export type DecoderStep =
  | { readonly kind: "resnet"; readonly resnet: Resnet }
  | { readonly kind: "upsample"; readonly convolution: Convolution }
  | { readonly kind: "output"; readonly norm: Norm; readonly convolution: Convolution };

export interface Norm {
  readonly groups: number;
  readonly weights: Linear;
}

export interface Resnet {
  readonly norm1: Norm;
  readonly conv1: Convolution;
  readonly norm2: Norm;
  readonly conv2: Convolution;
  /** Where the number of channels changes. */
  readonly shortcut: Convolution | null;
}

export interface Middle {
  readonly first: Resnet;
  readonly attention: PixelAttention | null;
  readonly second: Resnet;
}

/** Self-attention of all pixels, one head. */
export interface PixelAttention {
  readonly norm: Norm;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly out: Linear;
}

export function loadEncoder(loader: LayerLoader, config: AutoencoderConfig): Encoder {
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

export function loadDecoder(loader: LayerLoader, config: AutoencoderConfig): Decoder {
  const channels = config.block_out_channels.toReversed();
  const latent = config.latent_channels;
  const upsample = (block: number, width: number): DecoderStep => ({
    kind: "upsample",
    convolution: loader.convolution(`decoder.up_blocks.${block}.upsamplers.0.conv`, width, width),
  });
  return {
    postQuant: config.use_post_quant_conv ? loader.convolution("post_quant_conv", latent, latent, 1) : null,
    convIn: loader.convolution("decoder.conv_in", latent, channels[0]!),
    middle: loader.middle("decoder.mid_block", channels[0]!, config.mid_block_add_attention),
    steps: [
      ...channels.flatMap((out, block) => [
        ...Array.from({ length: config.layers_per_block + 1 }, (_, layer): DecoderStep => {
          const from = layer === 0 ? (channels[block - 1] ?? channels[0]!) : out;
          const resnet = loader.resnet(`decoder.up_blocks.${block}.resnets.${layer}`, from, out);
          return { kind: "resnet", resnet };
        }),
        ...(block === channels.length - 1 ? [] : [upsample(block, out)]),
      ]),
      {
        kind: "output",
        norm: loader.norm("decoder.conv_norm_out", channels.at(-1)!),
        convolution: loader.convolution("decoder.conv_out", channels.at(-1)!, 3),
      },
    ],
  };
}

export class LayerLoader {
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
