import { type DeviceTensor, dtypes, TamiasError } from "../../ffi/index.ts";
import { checkpointSource, DryRun, loadNetwork, type Ops, type Parameters } from "../nn/index.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { runInBands } from "./autoencoder/bands.ts";
import { bandSizes, type DecodePlan, planDecode, wholePlan } from "./autoencoder/decode-plan.ts";
import { Feature, runMiddle, runResnet, runStep } from "./autoencoder/feature.ts";
import {
  type AutoencoderConfig,
  configSchema,
  type Decoder,
  type Encoder,
  LayerLoader,
  loadDecoder,
  loadEncoder,
} from "./autoencoder/network.ts";

/** How often a plan is made anew with less memory before its bands are made smaller. */
const PLAN_ATTEMPTS = 3;

export interface DecodeOptions {
  /** Most bytes of device memory that decoding may take, beside the latents; absent: as much as is fastest. */
  readonly maxBytes?: number | undefined;
}

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

  /**
   * Loads all parameters; waits for them.
   * @throws TamiasError `bad_weights` when configuration or tensors are not those of such an autoencoder
   */
  static load(ops: Ops, checkpoint: Checkpoint): AutoencoderKL {
    return loadNetwork(
      ops,
      checkpointSource(checkpoint),
      configSchema,
      (parameters, config) => new AutoencoderKL(ops, parameters, config),
    );
  }

  private constructor(ops: Ops, parameters: Parameters, config: AutoencoderConfig) {
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
   * Latents as the decoder takes them to a picture. Within `maxBytes` it goes in bands of rows where the whole does not
   * fit, which takes longer; the picture is the same but for rounding.
   * @returns F32 [batch, 3, height * factor, width * factor], owned by the caller
   * @throws TamiasError `out_of_memory` before any work when `maxBytes` is too little in bands, too
   */
  decode(latents: DeviceTensor, { maxBytes }: DecodeOptions = {}): DeviceTensor {
    const plan = this.#planWithin(latents.shape, maxBytes);
    if (maxBytes !== undefined) this.#ops.memory.trim();
    return this.#decode(this.#ops, latents, plan);
  }

  /** Diffusion's latents to a picture: undoes scale and shift, then `decode`. */
  decodeScaled(latents: DeviceTensor, options: DecodeOptions = {}): DeviceTensor {
    using plain = this.#unscale(this.#ops, latents);
    return this.decode(plain, options);
  }

  /**
   * Most bytes of device memory that `decodeScaled` takes for a picture, without a limit.
   * @param height, width in pixels
   */
  decodeBytes(height: number, width: number): number {
    const shape = this.#latentShape(height, width);
    return this.#bytesOf(shape, wholePlan(this.#decoder.steps));
  }

  /** The fewest that `maxBytes` can be for a picture of this size. */
  smallestDecodeBytes(height: number, width: number): number {
    const shape = this.#latentShape(height, width);
    return Math.min(...bandSizes.map((bandBytes) => this.#bytesOf(shape, this.#plan(shape, 0, bandBytes))));
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

  get parameterBytes(): number {
    return this.#parameters.bytes;
  }

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }

  #decode(ops: Ops, latents: DeviceTensor, plan: DecodePlan): DeviceTensor {
    const decoder = this.#decoder;
    let x = new Feature(ops, latents).as(ops.activationType);
    if (decoder.postQuant) x = x.convolve(decoder.postQuant);
    x = x.convolve(decoder.convIn);
    x = runMiddle(x, decoder.middle);
    for (const { steps, bandRows } of plan)
      x = bandRows === undefined ? steps.reduce(runStep, x) : runInBands(x, steps, bandRows);
    return x.as("f32").tensor;
  }

  #unscale(ops: Ops, latents: DeviceTensor): DeviceTensor {
    using shift = ops.memory.temporary([1, 1, 1, 1], latents.dtype);
    ops.fill(shift, this.shift);
    const plain = ops.memory.temporary(latents.shape);
    ops.combine(1 / this.scale, latents, 1, shift.expand(...latents.shape), plain);
    return plain;
  }

  #planWithin(latentShape: readonly number[], maxBytes: number | undefined): DecodePlan {
    const whole = wholePlan(this.#decoder.steps);
    if (maxBytes === undefined || this.#bytesOf(latentShape, whole) <= maxBytes) return whole;
    for (const bandBytes of bandSizes) {
      // The plan's own estimate leaves out what surrounds its steps.
      let within = maxBytes;
      for (let attempt = 0; attempt < PLAN_ATTEMPTS; attempt++) {
        // The last attempt is the one that takes least.
        const plan = this.#plan(latentShape, attempt + 1 < PLAN_ATTEMPTS ? within : 0, bandBytes);
        const excess = this.#bytesOf(latentShape, plan) - maxBytes;
        if (excess <= 0) return plan;
        within -= excess;
      }
    }
    const [, , rows = 0, columns = 0] = latentShape;
    const [height, width] = [rows * this.factor, columns * this.factor];
    throw new TamiasError(
      "out_of_memory",
      `Decoding ${width} x ${height} pixels takes at least ${this.smallestDecodeBytes(height, width)} bytes, ` +
        `more than the ${maxBytes} allowed.`,
      { hint: "Ask for a smaller picture." },
    );
  }

  #plan(latentShape: readonly number[], maxBytes: number, bandBytes: number): DecodePlan {
    const { convIn, steps } = this.#decoder;
    const shape = latentShape.with(1, convIn.weight.shape[0]!);
    const elementBytes = dtypes[this.#ops.activationType].bytes;
    return planDecode(steps, shape, { maxBytes, bandBytes, elementBytes });
  }

  /** Most bytes held while latents of this shape are decoded, themselves apart. */
  #bytesOf(latentShape: readonly number[], plan: DecodePlan): number {
    using run = new DryRun(this.#ops.stream.device);
    using latents = run.ops.memory.own(latentShape, "f32");
    return run.peakOf(() => {
      using plain = this.#unscale(run.ops, latents);
      this.#decode(run.ops, plain, plan)[Symbol.dispose]();
    });
  }

  #latentShape(height: number, width: number): number[] {
    return [1, this.latentChannels, height / this.factor, width / this.factor];
  }
}
