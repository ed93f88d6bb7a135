import { inOrder } from "../../ffi/errors.ts";
import { Device, TamiasError } from "../../ffi/index.ts";
import type { Costs } from "../delta/cost-model.ts";
import type { PictureSizes, RequestDefaults } from "../models/family.ts";
import { Ops } from "../nn/index.ts";
import type { GenerateEvent } from "./events.ts";
import { fit, megabytes, roomOf } from "./fit.ts";
import { type Engine, generate } from "./generate.ts";
import { openMaskStream } from "./mask-stream.ts";
import { findModel } from "./models.ts";
import type { GenerateOptions } from "./options.ts";
import { RunCounter } from "./needs.ts";
import { type Request, settleRequest } from "./request.ts";
import { RequestQueue } from "./request-queue.ts";

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
   * `overlap`: masks are chosen and caches made on a stream of their own, the mask stream, by a Worker;
   * `serial`: in turn. The pictures are the same. Default: what measured faster on the device.
   */
  readonly pipeline?: "overlap" | "serial" | undefined;
  /** What deltas cost on this machine, as `tamias bench costs` measures it; default: shipped ones of the backend. */
  readonly costs?: Costs | undefined;
}

/** On the CPU both orders share the same cores. */
const defaultPipelines = { cpu: "serial", cuda: "serial" } as const;

/**
 * Opens a model: loads its weights onto a device.
 * @throws TamiasError `not_found`, `bad_weights`, `unsupported`, `out_of_memory` …
 */
export async function open(options: OpenOptions): Promise<Tamias> {
  const { model, device: backend = "auto", index, threads, pipeline: order, costs } = options;
  if (typeof model !== "string" || model === "")
    throw new TamiasError("bad_input", "model: give the name of a model or the path of its folder.");
  if (!["auto", "cpu", "cuda"].includes(backend))
    throw new TamiasError("bad_input", `device: "${backend}" is none of auto, cpu, cuda.`);
  if (order && !["overlap", "serial"].includes(order))
    throw new TamiasError("bad_input", `pipeline: "${order}" is neither overlap nor serial.`);
  const { name, folder, kind } = await findModel(model);
  const files = await kind.open(folder);
  using opened = new DisposableStack();
  const device = opened.use(await Device.open({ backend, index, threads }));
  const ops = opened.use(new Ops(opened.use(device.createStream())));
  const maskOps =
    (order ?? defaultPipelines[device.backend]) === "overlap"
      ? opened.use(new Ops(opened.use(await openMaskStream(device))))
      : undefined;
  const counter = opened.use(await RunCounter.open(device, files, costs));
  const room = roomOf(device).device;
  if (counter.weights > room)
    throw new TamiasError(
      "does_not_fit",
      `${name} needs ${megabytes(counter.weights)} of memory for its weights alone; the device has ${megabytes(Math.max(0, room))}.`,
    );
  const family = opened.use(await files.load(ops));
  return new Tamias(name, device, { family, ops, maskOps, costs }, counter, opened.move());
}

/** An opened model on a device. */
export class Tamias implements AsyncDisposable {
  readonly model: string;
  readonly #device: Device;
  readonly #engine: Engine;
  readonly #counter: RunCounter;
  readonly #opened: DisposableStack;
  readonly #requests = new RequestQueue();
  /** A device that has failed is not asked again. */
  #failure: TamiasError | undefined;
  #closed: Promise<void> | undefined;

  constructor(model: string, device: Device, engine: Engine, counter: RunCounter, opened: DisposableStack) {
    this.model = model;
    this.#device = device;
    this.#engine = engine;
    this.#counter = counter;
    this.#opened = opened;
  }

  /** Name of the device. */
  get device(): string {
    return this.#device.info().name;
  }

  /** Which pictures it makes. */
  get sizes(): PictureSizes {
    return this.#engine.family.sizes;
  }

  /** What a request gets that does not say. */
  get defaults(): RequestDefaults {
    return this.#engine.family.defaults;
  }

  /** Bytes of device memory held now. */
  get deviceBytes(): number {
    return this.#device.info().bytesAllocated;
  }

  /**
   * Makes one picture, telling its progress. Requests on one instance run one after another; leaving the loop early
   * stops the work. A request whose events nobody asks for any more is ended once another has waited for half a minute.
   * @throws TamiasError `bad_input` or `does_not_fit` before any work, `aborted` within one step of the signal,
   *   `device_failed` from the first time on
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    const request = settleRequest(this.model, this.#engine.family, options);
    yield* this.#requests.run((signal) => this.#run({ ...request, signal }), request.signal);
  }

  async *#run(request: Request): AsyncGenerator<GenerateEvent, void, void> {
    if (this.#failure) throw this.#failure;
    try {
      const fitted = await fit(this.#counter, request, roomOf(this.#device));
      // Where memory is short, what counting left behind goes first.
      if (fitted.room !== undefined) Bun.gc(true);
      yield* generate(this.#engine, fitted);
    } catch (error) {
      const { first } = inOrder(error);
      if (first instanceof TamiasError && first.code === "device_failed") this.#failure = first;
      throw error;
    }
  }

  /** Ends the request that is running within one step, fails those that wait, then frees everything. */
  close(): Promise<void> {
    this.#closed ??= this.#requests.close().then(() => this.#opened.dispose());
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
