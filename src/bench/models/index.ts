import { Device, TamiasError } from "../../../ffi/index.ts";
import { Ops } from "../../nn/index.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import { openMaskStream } from "../../pipeline/mask-stream.ts";
import { RandomTensors } from "../random-tensors.ts";
import { benchFluxShaped } from "./flux-shaped.ts";
import { type FluxShaped, modelShapes, resized, type WanShaped } from "./shapes.ts";
import type { StepTimes } from "./step-times.ts";
import { benchWanShaped } from "./wan-shaped.ts";
import { runWhole, type WholeRun, type WholeRunOptions } from "./whole-run.ts";

export type { StepTime, StepTimes } from "./step-times.ts";
export type { WholeRun, WholeStep } from "./whole-run.ts";

export const benchModelNames: readonly string[] = Object.keys(modelShapes);

export interface ModelBench {
  readonly device: string;
  readonly model: string;
  readonly title: string;
  readonly times: StepTimes;
}

export interface WholeModelBench extends WholeRun {
  readonly device: string;
  readonly model: string;
  readonly title: string;
}

type ModelOptions = Pick<OpenOptions, "device" | "threads" | "pipeline">;

/**
 * Times one denoising step of a model at full shape with random weights.
 * @throws TamiasError `not_found` for a model whose shape is not known
 */
export async function benchModel(
  { device: backend = "auto", threads, pipeline = "serial" }: ModelOptions,
  model: string,
): Promise<ModelBench> {
  const shape = shapeOf(model);
  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  using maskStream = pipeline === "overlap" ? await openMaskStream(device) : undefined;
  using maskOps = maskStream ? new Ops(maskStream) : undefined;
  using random = new RandomTensors(ops, 1);
  const times =
    shape.kind === "flux-shaped"
      ? await benchFluxShaped(ops, random, shape, maskOps)
      : await benchWanShaped(ops, random, shape, maskOps);
  return { device: device.info().name, model, title: shape.title, times };
}

/**
 * Runs a whole model of FLUX's blocks with random weights over a few steps, in memory planned beforehand.
 * @param size other numbers of layers and tokens than the model's
 * @throws TamiasError `not_found`, `unsupported` for a model of other blocks, `out_of_memory` when it does not fit
 */
export async function benchWholeModel(
  { device: backend = "auto", threads }: ModelOptions,
  model: string,
  {
    layers,
    tokens,
    ...memory
  }: WholeRunOptions & { layers?: number | undefined; tokens?: number | undefined },
): Promise<WholeModelBench> {
  const shape = shapeOf(model);
  if (shape.kind !== "flux-shaped")
    throw new TamiasError("unsupported", `Of "${model}" only single blocks can be timed.`);
  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  using random = new RandomTensors(ops, 1);
  const run = await runWhole(ops, random, resized(shape, { layers, tokens }), memory);
  return { device: device.info().name, model, title: shape.title, ...run };
}

function shapeOf(model: string): FluxShaped | WanShaped {
  const shape = modelShapes[model];
  if (shape) return shape;
  throw new TamiasError("not_found", `There is no benchmark of a model "${model}".`, {
    hint: `Models are ${benchModelNames.join(", ")}.`,
  });
}
