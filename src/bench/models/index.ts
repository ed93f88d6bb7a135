import { Device, TamiasError } from "../../../ffi/index.ts";
import { Ops } from "../../nn/index.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import { openMaskStream } from "../../pipeline/mask-stream.ts";
import { RandomTensors } from "../random-tensors.ts";
import { benchFluxShaped } from "./flux-shaped.ts";
import { modelShapes } from "./shapes.ts";
import type { StepTimes } from "./step-times.ts";
import { benchWanShaped } from "./wan-shaped.ts";

export type { StepTime, StepTimes } from "./step-times.ts";

export const benchModelNames: readonly string[] = Object.keys(modelShapes);

export interface ModelBench {
  readonly device: string;
  readonly model: string;
  readonly title: string;
  readonly times: StepTimes;
}

/**
 * Times one denoising step of a model at full shape with random weights.
 * @throws TamiasError `not_found` for a model whose shape is not known
 */
export async function benchModel(
  {
    device: backend = "auto",
    threads,
    pipeline = "serial",
  }: Pick<OpenOptions, "device" | "threads" | "pipeline">,
  model: string,
): Promise<ModelBench> {
  const shape = modelShapes[model];
  if (!shape)
    throw new TamiasError("not_found", `There is no benchmark of a model "${model}".`, {
      hint: `Models are ${benchModelNames.join(", ")}.`,
    });
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
