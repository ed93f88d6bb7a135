import { Device, type Stream, TamiasError } from "../../ffi/index.ts";
import { findPolicy } from "../delta/policies/index.ts";
import { Ops } from "../nn/index.ts";
import type { GenerateEvent, Settings } from "./events.ts";
import { checkSize, FluxPipeline, type FluxRequest } from "./flux.ts";
import { findModel } from "./models.ts";
import { checkOptions, type GenerateOptions } from "./options.ts";
import { openSideStream } from "./side-stream.ts";
import { Turnstile } from "./turnstile.ts";

export interface OpenOptions {
  /** A model that comes with the package (`listModels`), or a folder in diffusers format. */
  readonly model: string;
  /** `auto` (default): the first CUDA device where there is one, else the CPU. */
  readonly device?: "auto" | "cpu" | "cuda" | undefined;
  /** Which of several CUDA devices; default 0. */
  readonly index?: number | undefined;
  /** CPU threads; default: all cores. */
  readonly threads?: number | undefined;
  /**
   * `overlap`: masks are chosen and caches made on a second stream, by a Worker, beside the denoising; `serial`: in
   * turn. The pictures are the same. Default: what measured faster on the device.
   */
  readonly pipeline?: "overlap" | "serial" | undefined;
}

/** On the CPU both orders share the same cores. */
const defaultPipelines = { cpu: "serial", cuda: "serial" } as const;

/** What a model asks of a picture's width and height, in pixels. */
export interface PictureSizes {
  /** The side it was made for. */
  readonly native: number;
  /** Each side must be a multiple of this. */
  readonly multiple: number;
}

/**
 * Opens a model: loads its weights onto a device.
 * @throws TamiasError `not_found`, `bad_weights`, `unsupported`, `out_of_memory` …
 */
export async function open(options: OpenOptions): Promise<Tamias> {
  const { model, device: backend = "auto", index, threads, pipeline: order } = options;
  if (typeof model !== "string" || model === "")
    throw new TamiasError("bad_input", "model: give the name of a model or the path of its folder.");
  if (!["auto", "cpu", "cuda"].includes(backend))
    throw new TamiasError("bad_input", `device: "${backend}" is none of auto, cpu, cuda.`);
  if (order && !["overlap", "serial"].includes(order))
    throw new TamiasError("bad_input", `pipeline: "${order}" is neither overlap nor serial.`);
  const entry = await findModel(model);
  using opened = new DisposableStack();
  const device = opened.use(await Device.open({ backend, index, threads }));
  const stream: Stream = opened.use(device.createStream());
  const ops = opened.use(new Ops(stream));
  let sideOps: Ops | undefined;
  if ((order ?? defaultPipelines[device.backend]) === "overlap") {
    const side = opened.use(await openSideStream(device));
    sideOps = opened.use(new Ops(side));
  }
  const pipeline = opened.use(await FluxPipeline.load(ops, entry.folder, sideOps));
  return new Tamias(entry.name, device, pipeline, opened.move());
}

/** An opened model on a device. */
export class Tamias implements AsyncDisposable {
  readonly model: string;
  readonly #device: Device;
  readonly #pipeline: FluxPipeline;
  readonly #opened: DisposableStack;
  readonly #turnstile = new Turnstile();
  #closing = false;

  constructor(model: string, device: Device, pipeline: FluxPipeline, opened: DisposableStack) {
    this.model = model;
    this.#device = device;
    this.#pipeline = pipeline;
    this.#opened = opened;
  }

  /** Name of the device. */
  get device(): string {
    return this.#device.info().name;
  }

  /** Which pictures it makes. */
  get sizes(): PictureSizes {
    return { native: this.#pipeline.nativeSize, multiple: this.#pipeline.sizeMultiple };
  }

  /** Bytes of device memory held now. */
  get deviceBytes(): number {
    return this.#device.info().bytesAllocated;
  }

  /**
   * Makes one picture, telling its progress. Requests on one instance run one after another; leaving the loop early
   * stops the work.
   * @throws TamiasError `bad_input` before any work, `aborted` within one step of the signal
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    const request = this.#settle(options);
    const leave = await this.#turnstile.enter(request.signal);
    try {
      if (this.#closing) throw new TamiasError("disposed", "This model has been closed.");
      yield* this.#pipeline.generate(request);
    } finally {
      leave();
    }
  }

  /** Waits for the request that is running, then frees everything. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const leave = await this.#turnstile.enter();
    this.#opened.dispose();
    leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #settle(options: GenerateOptions): FluxRequest {
    const { prompt, steps, previewEvery, previewSteps, recordColumns, trace, signal, ...asked } =
      checkOptions(options);
    const policy = findPolicy(asked.policy);
    const { nativeSize, sizeMultiple, defaultGuidance } = this.#pipeline;
    const settings: Settings = {
      model: this.model,
      prompt,
      width: asked.width ?? asked.height ?? nativeSize,
      height: asked.height ?? asked.width ?? nativeSize,
      steps,
      seed: asked.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
      guidance: asked.guidance ?? defaultGuidance,
      policy: policy.name,
    };
    checkSize("width", settings.width, sizeMultiple);
    checkSize("height", settings.height, sizeMultiple);
    const wantsPreview = (step: number) =>
      (previewEvery > 0 && (step + 1) % previewEvery === 0) || previewSteps.includes(step);
    return { settings, policy, wantsPreview, recordColumns, trace, signal };
  }
}
