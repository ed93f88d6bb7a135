import { join } from "node:path";
import { throwIfAborted } from "../../ffi/errors.ts";
import { type DeviceTensor, type Event, TamiasError } from "../../ffi/index.ts";
import type { Plan, Policy, StepAction } from "../delta/policy.ts";
import { DeltaRun, type DensityReport, type StepReport } from "../delta/run.ts";
import { tileOrder } from "../delta/token-order.ts";
import { AutoencoderKL } from "../models/autoencoder-kl.ts";
import { imagePositionIds, packLatents, PATCH, unpackLatents } from "../models/flux/latents.ts";
import { FluxTransformer } from "../models/flux/transformer.ts";
import { ClipTextModel } from "../models/text/clip.ts";
import { T5Encoder } from "../models/text/t5.ts";
import { TextTokenizer } from "../models/text/tokenizer.ts";
import type { Ops } from "../nn/index.ts";
import { FlowMatchEuler } from "../samplers/flow-match-euler.ts";
import { gaussianNoise } from "../samplers/noise.ts";
import { openCheckpoint } from "../weights/diffusers-folder.ts";
import type { GenerateEvent, Picture, Settings } from "./events.ts";
import { Recording } from "./recording.ts";
import { VelocityLine } from "./velocity-line.ts";

/** T5 tokens FLUX uses unless the tokenizer asks for fewer. */
const MAX_TEXT_TOKENS = 512;
const CLIP_TOKENS = 77;
/** Steps that take less are queued one ahead; longer ones are not, so that a stop never waits for two of them. */
const LOOK_AHEAD_SECONDS = 0.5;

/** A request whose every value is settled. */
export interface FluxRequest {
  readonly settings: Settings;
  readonly policy: Policy;
  /** Whether a preview is to follow a step (0-based); the last step has the result instead. */
  wantsPreview(step: number): boolean;
  readonly recordColumns: boolean;
  readonly trace: boolean;
  readonly signal: AbortSignal | undefined;
}

/** FLUX.1, text to image: two text encoders, the transformer, the autoencoder and the sampler, on one stream. */
export class FluxPipeline implements Disposable {
  readonly defaultGuidance = 3.5;
  readonly #ops: Ops;
  readonly #sideOps: Ops | undefined;
  readonly #parts: DisposableStack;
  readonly #clip: ClipTextModel;
  readonly #t5: T5Encoder;
  readonly #clipTokenizer: TextTokenizer;
  readonly #t5Tokenizer: TextTokenizer;
  readonly #transformer: FluxTransformer;
  readonly #autoencoder: AutoencoderKL;
  readonly #sampler: FlowMatchEuler;

  /**
   * Loads a diffusers folder; `ops` stay the caller's.
   * @param sideOps ops of a second stream, for masks and caches beside the first
   */
  static async load(ops: Ops, folder: string, sideOps?: Ops): Promise<FluxPipeline> {
    const [clip, t5, transformer, autoencoder, sampler, clipTokenizer, t5Tokenizer] = await Promise.all([
      openCheckpoint(join(folder, "text_encoder")),
      openCheckpoint(join(folder, "text_encoder_2")),
      openCheckpoint(join(folder, "transformer")),
      openCheckpoint(join(folder, "vae")),
      FlowMatchEuler.open(join(folder, "scheduler")),
      TextTokenizer.open(join(folder, "tokenizer")),
      TextTokenizer.open(join(folder, "tokenizer_2")),
    ]);
    using parts = new DisposableStack();
    const pipeline = new FluxPipeline(ops, sideOps, {
      clip: parts.use(ClipTextModel.load(ops, clip)),
      t5: parts.use(T5Encoder.load(ops, t5)),
      transformer: parts.use(FluxTransformer.load(ops, transformer)),
      autoencoder: parts.use(AutoencoderKL.load(ops, autoencoder)),
      sampler,
      clipTokenizer,
      t5Tokenizer,
      parts: new DisposableStack(),
    });
    await ops.stream.finished();
    pipeline.#parts.use(parts.move());
    return pipeline;
  }

  private constructor(
    ops: Ops,
    sideOps: Ops | undefined,
    parts: {
      clip: ClipTextModel;
      t5: T5Encoder;
      transformer: FluxTransformer;
      autoencoder: AutoencoderKL;
      sampler: FlowMatchEuler;
      clipTokenizer: TextTokenizer;
      t5Tokenizer: TextTokenizer;
      parts: DisposableStack;
    },
  ) {
    this.#ops = ops;
    this.#sideOps = sideOps;
    this.#parts = parts.parts;
    this.#clip = parts.clip;
    this.#t5 = parts.t5;
    this.#clipTokenizer = parts.clipTokenizer;
    this.#t5Tokenizer = parts.t5Tokenizer;
    this.#transformer = parts.transformer;
    this.#autoencoder = parts.autoencoder;
    this.#sampler = parts.sampler;
  }

  /** Pixels along each side of an image token; sizes must be multiples of it. */
  get sizeMultiple(): number {
    return this.#autoencoder.factor * PATCH;
  }

  /** The size the model was made for, in pixels. */
  get nativeSize(): number {
    return this.#autoencoder.sampleSize;
  }

  async *generate({
    settings,
    policy,
    wantsPreview,
    recordColumns,
    trace,
    signal,
  }: FluxRequest): AsyncGenerator<GenerateEvent> {
    const began = performance.now();
    throwIfAborted(signal);
    const ops = this.#ops;
    const transformer = this.#transformer;
    using scratch = new DisposableStack();
    for (const { memory } of this.#sideOps ? [ops, this.#sideOps] : [ops]) scratch.defer(() => memory.trim());
    const keep = (tensor: DeviceTensor) => scratch.use(tensor);

    const text = this.#encode(settings.prompt, keep);
    await ops.stream.finished();
    const encodeSeconds = secondsSince(began);

    const rows = settings.height / this.sizeMultiple;
    const columns = settings.width / this.sizeMultiple;
    const imageTokens = rows * columns;
    const textTokens = text.context.shape[1] ?? 0;
    const plan = policy.plan({ steps: settings.steps, layers: transformer.layers });
    const order = tileOrder(rows, columns);
    const toTiles = this.#uploadOrder(order.order, keep);
    const toRaster = this.#uploadOrder(order.inverse, keep);
    const positions = scratch.use(
      transformer.prepare({
        textIds: new Float32Array(textTokens * 3),
        imageIds: reorderIds(imagePositionIds(rows, columns), order.order),
      }),
    );
    yield {
      type: "start",
      settings,
      device: ops.stream.device.info().name,
      imageTokens,
      textTokens,
      grid: [rows, columns],
      encodeSeconds,
    };

    const shape = [1, imageTokens, transformer.inChannels];
    const latents = keep(ops.memory.persistent(shape, "f32"));
    this.#drawNoise(settings, [rows, columns], toTiles, latents);
    const velocity = keep(ops.memory.persistent(shape, "f32"));
    const line = skipsAny(plan, settings.steps)
      ? scratch.use(new VelocityLine(ops, shape, plan.skipForecast))
      : undefined;
    const sideOps = this.#sideOps;
    const delta = scratch.use(
      new DeltaRun(ops, plan, { textTokens, seed: settings.seed, recordColumns, sideOps }),
    );
    const recording = trace ? scratch.use(new Recording(ops.stream, sideOps?.stream)) : undefined;
    const schedule = this.#sampler.schedule(settings.steps, imageTokens);
    const reports: DensityReport[] = [];

    const estimates = (step: number) => step + 1 < settings.steps && wantsPreview(step);
    const queueStep = (step: number): QueuedStep => {
      const sigma = schedule.sigmas[step]!;
      const action = plan.stepAction(step);
      if (action === "skip") line!.extrapolate(sigma, velocity);
      else {
        this.#evaluate(
          { latents, text, positions, sigma, guidance: settings.guidance, step },
          delta,
          velocity,
        );
        line?.record(velocity, sigma);
      }
      const estimate = estimates(step) ? ops.memory.temporary(shape, "f32") : undefined;
      if (estimate) ops.combine(1, latents, -sigma, velocity, estimate);
      ops.combine(1, latents, schedule.sigmas[step + 1]! - sigma, velocity, latents);
      return new QueuedStep(ops, sigma, action, action === "skip" ? undefined : delta.endStep(), estimate);
    };

    const denoiseBegan = performance.now();
    let lastFinished = denoiseBegan;
    let lastSeconds = Number.POSITIVE_INFINITY;
    let ahead: QueuedStep | undefined;
    try {
      for (let step = 0; step < settings.steps; step++) {
        throwIfAborted(signal);
        using current = ahead ?? queueStep(step);
        // The device gets short steps before it has finished the one before, so that it never waits for this program.
        const mayLookAhead =
          lastSeconds < LOOK_AHEAD_SECONDS &&
          step + 1 < settings.steps &&
          !current.estimate &&
          !recordColumns;
        ahead = mayLookAhead ? queueStep(step + 1) : undefined;
        const report = await current.finish();
        const now = performance.now();
        lastSeconds = (now - lastFinished) / 1000;
        lastFinished = now;
        reports.push(report);
        const { sigma, action, estimate } = current;
        yield {
          type: "step",
          step,
          steps: settings.steps,
          sigma,
          seconds: lastSeconds,
          action,
          ...report,
        };
        if (estimate) {
          throwIfAborted(signal);
          yield { type: "preview", step, ...(await this.#decode(estimate, toRaster, [rows, columns])) };
          lastFinished = performance.now();
        }
      }
    } finally {
      ahead?.[Symbol.dispose]();
    }
    const denoise = secondsSince(denoiseBegan);

    throwIfAborted(signal);
    if (recording) yield { type: "trace", ...(await recording.take()) };
    const decodeBegan = performance.now();
    const picture = await this.#decode(latents, toRaster, [rows, columns]);
    const mean = (share: (report: DensityReport) => number) =>
      reports.reduce((sum, report) => sum + share(report), 0) / reports.length;
    yield {
      type: "result",
      ...picture,
      settings,
      seconds: {
        encode: encodeSeconds,
        denoise,
        decode: secondsSince(decodeBegan),
        total: secondsSince(began),
      },
      density: mean(({ density }) => density),
      attentionDensity: mean(({ attentionDensity }) => attentionDensity),
      mlpDensity: mean(({ mlpDensity }) => mlpDensity),
    };
  }

  [Symbol.dispose](): void {
    this.#parts[Symbol.dispose]();
  }

  /** T5 states [1, textTokens, jointDim] and CLIP's pooled state [1, pooledDim]. */
  #encode(prompt: string, keep: (tensor: DeviceTensor) => DeviceTensor): TextStates {
    const textTokens = Math.min(this.#t5Tokenizer.maxLength ?? MAX_TEXT_TOKENS, MAX_TEXT_TOKENS);
    const context = keep(this.#t5.encode([this.#t5Tokenizer.encode(prompt, textTokens)]));
    const clip = this.#clip.encode([this.#clipTokenizer.encode(prompt, CLIP_TOKENS)]);
    keep(clip.lastHiddenState);
    return { context, pooled: keep(clip.pooled) };
  }

  #uploadOrder(order: Int32Array, keep: (tensor: DeviceTensor) => DeviceTensor): DeviceTensor {
    const indices = keep(this.#ops.memory.persistent([order.length], "i32"));
    this.#ops.stream.write(indices, order);
    return indices;
  }

  /** Noise is drawn for the picture, not for its token order, so that every policy starts from the same. */
  #drawNoise({ seed }: Settings, [rows, columns]: Grid, toTiles: DeviceTensor, out: DeviceTensor): void {
    const ops = this.#ops;
    const channels = this.#transformer.inChannels / PATCH ** 2;
    using noise = ops.memory.temporary([1, channels, rows * PATCH, columns * PATCH], "f32");
    ops.stream.write(noise, gaussianNoise(noise.elements, seed));
    using packed = ops.memory.temporary(out.shape, "f32");
    packLatents(ops, noise, packed);
    ops.gatherRows(packed, toTiles, out);
  }

  #evaluate(
    {
      latents,
      text,
      positions,
      sigma,
      guidance,
      step,
    }: {
      latents: DeviceTensor;
      text: TextStates;
      positions: ReturnType<FluxTransformer["prepare"]>;
      sigma: number;
      guidance: number;
      step: number;
    },
    delta: DeltaRun,
    velocity: DeviceTensor,
  ): void {
    const ops = this.#ops;
    using hidden = ops.memory.temporary(latents.shape);
    ops.copy(latents, hidden);
    using out = ops.memory.temporary(velocity.shape);
    this.#transformer.forward(
      {
        hidden,
        ...text,
        positions,
        timestep: [sigma],
        guidance: this.#transformer.usesGuidance ? [guidance] : undefined,
        modules: delta.modules({ step, sigma }),
      },
      out,
    );
    ops.copy(out, velocity);
  }

  async #decode(tokens: DeviceTensor, toRaster: DeviceTensor, [rows, columns]: Grid): Promise<Picture> {
    const ops = this.#ops;
    const channels = this.#transformer.inChannels / PATCH ** 2;
    using raster = ops.memory.temporary(tokens.shape, "f32");
    ops.gatherRows(tokens, toRaster, raster);
    using latents = ops.memory.temporary([1, channels, rows * PATCH, columns * PATCH], "f32");
    unpackLatents(ops, raster, latents);
    using image = this.#autoencoder.decodeScaled(latents);
    const [, , height = 0, width = 0] = image.shape;
    using pixels = ops.memory.temporary([height, width, 3], "u8");
    ops.imageRgb8(image.select(0, 0), pixels);
    await ops.stream.finished();
    return { width, height, rgb: ops.stream.read(pixels, new Uint8Array(pixels.bytes)) };
  }
}

/** A step that the stream has been given. Holds what is read from it once it is reached. */
class QueuedStep implements Disposable {
  readonly sigma: number;
  readonly action: StepAction;
  /** The latents' estimate of the finished picture, where a preview is due. */
  readonly estimate: DeviceTensor | undefined;
  readonly #report: StepReport | undefined;
  readonly #end: Event;

  constructor(
    ops: Ops,
    sigma: number,
    action: StepAction,
    report: StepReport | undefined,
    estimate: DeviceTensor | undefined,
  ) {
    this.sigma = sigma;
    this.action = action;
    this.estimate = estimate;
    this.#report = report;
    this.#end = ops.stream.device.createEvent();
    this.#end.record(ops.stream);
  }

  async finish(): Promise<DensityReport> {
    await this.#end.reached();
    return this.#report?.read() ?? skippedReport;
  }

  [Symbol.dispose](): void {
    this.#end[Symbol.dispose]();
    this.#report?.[Symbol.dispose]();
    this.estimate?.[Symbol.dispose]();
  }
}

type Grid = readonly [rows: number, columns: number];

interface TextStates {
  readonly context: DeviceTensor;
  readonly pooled: DeviceTensor;
}

const skippedReport: DensityReport = {
  density: 0,
  attentionDensity: 0,
  mlpDensity: 0,
  cells: [],
  lateMasks: 0,
};

/** @throws TamiasError `bad_input` when a side is no multiple of a token's */
export function checkSize(side: "width" | "height", pixels: number, multiple: number): void {
  if (pixels % multiple === 0) return;
  const below = Math.max(multiple, pixels - (pixels % multiple));
  throw new TamiasError("bad_input", `${side}: ${pixels} is not a multiple of ${multiple}.`, {
    hint: `The nearest sizes are ${below} and ${below + multiple}.`,
  });
}

function skipsAny(plan: Plan, steps: number): boolean {
  return Array.from({ length: steps }, (_, step) => plan.stepAction(step)).includes("skip");
}

function reorderIds(ids: Float32Array, order: Int32Array): Float32Array {
  const reordered = new Float32Array(ids.length);
  order.forEach((from, to) => reordered.set(ids.subarray(from * 3, from * 3 + 3), to * 3));
  return reordered;
}

function secondsSince(milliseconds: number): number {
  return (performance.now() - milliseconds) / 1000;
}
