import { throwIfAborted } from "../../ffi/errors.ts";
import type { DeviceTensor } from "../../ffi/index.ts";
import type { Costs } from "../delta/cost-model.ts";
import type { DensityReport } from "../delta/run.ts";
import type { Family, Grid } from "../models/family.ts";
import type { Ops } from "../nn/index.ts";
import { gaussianNoise } from "../samplers/noise.ts";
import { denoise } from "./denoise.ts";
import type { GenerateEvent } from "./events.ts";
import { decodePicture } from "./pictures.ts";
import { Recording } from "./recording.ts";
import type { Request } from "./request.ts";
import { layOutTokens } from "./token-layout.ts";

/** An opened model with the streams it runs on. */
export interface Engine {
  readonly family: Family;
  readonly ops: Ops;
  /** Ops of the mask stream, where there is one. */
  readonly maskOps?: Ops | undefined;
  /** What deltas cost on this machine; default: the backend's shipped costs. */
  readonly costs?: Costs | undefined;
}

/** One picture: text, noise, denoising, decoding. */
export async function* generate(
  { family, ops, maskOps, costs }: Engine,
  request: Request,
): AsyncGenerator<GenerateEvent, void, void> {
  const { settings, notes, policy, wantsPreview, recordColumns, trace, signal, room, place } = request;
  const began = performance.now();
  throwIfAborted(signal);
  // At the end the device has back what only this run needed.
  using scratch = new DisposableStack();
  scratch.defer(() => {
    ops.memory.trim();
    maskOps?.memory.trim();
  });
  const keep = (tensor: DeviceTensor) => scratch.use(tensor);

  const grid = family.grid({ width: settings.width, height: settings.height, frames: 1 });
  const layout = layOutTokens(grid);
  const { order, inverse } = layout.order;
  const conditioning = scratch.use(family.condition(settings, layout));
  await ops.stream.finished();
  const encodeSeconds = secondsSince(began);
  yield {
    type: "start",
    settings,
    notes,
    device: ops.stream.device.info().name,
    imageTokens: order.length,
    textTokens: conditioning.text.textTokens,
    grid,
    tokenOrder: order,
    encodeSeconds,
  };

  const toOrder = keep(uploadIndices(ops, order));
  const toRaster = keep(uploadIndices(ops, inverse));
  const latents = keep(ops.memory.persistent([1, order.length, family.tokenChannels], "f32"));
  drawNoise(ops, family, grid, settings.seed, toOrder, latents);
  const recording = trace ? scratch.use(new Recording(ops.stream, maskOps?.stream)) : undefined;
  const reports: DensityReport[] = [];
  const decode = (tokens: DeviceTensor, isLast: boolean) => {
    // What denoising no longer needs is given back first, so that decoding can have it.
    if (isLast || room !== undefined) ops.memory.trim();
    const left = room === undefined ? undefined : room - ops.stream.device.info().bytesAllocated;
    return decodePicture(ops, family, grid, tokens, toRaster, left);
  };

  const denoiseBegan = performance.now();
  const steps = denoise(ops, {
    family,
    conditioning,
    policy,
    steps: settings.steps,
    latents,
    seed: settings.seed,
    maskOps,
    costs,
    place,
    recordColumns,
    wantsEstimate: wantsPreview,
    signal,
  });
  for await (const { estimate, ...step } of steps) {
    reports.push(step);
    yield { type: "step", steps: settings.steps, ...step };
    if (!estimate) continue;
    throwIfAborted(signal);
    yield {
      type: "preview",
      step: step.step,
      ...(await decode(estimate, false)),
    };
  }
  const denoiseSeconds = secondsSince(denoiseBegan);

  throwIfAborted(signal);
  if (recording) yield { type: "trace", ...(await recording.take()) };
  const decodeBegan = performance.now();
  const picture = await decode(latents, true);
  const mean = (share: (report: DensityReport) => number) =>
    reports.reduce((sum, report) => sum + share(report), 0) / reports.length;
  yield {
    type: "result",
    ...picture,
    settings,
    seconds: {
      encode: encodeSeconds,
      denoise: denoiseSeconds,
      decode: secondsSince(decodeBegan),
      total: secondsSince(began),
    },
    density: mean(({ density }) => density),
    attentionDensity: mean(({ attentionDensity }) => attentionDensity),
    mlpDensity: mean(({ mlpDensity }) => mlpDensity),
  };
}

/** Noise is drawn for the picture, not for its token order, so that every policy starts from the same. */
function drawNoise(
  ops: Ops,
  family: Family,
  grid: Grid,
  seed: number,
  toOrder: DeviceTensor,
  out: DeviceTensor,
): void {
  using noise = ops.memory.temporary(family.latentShape(grid), "f32");
  ops.stream.write(noise, gaussianNoise(noise.elements, seed));
  using packed = ops.memory.temporary(out.shape, "f32");
  family.pack(noise, packed);
  ops.gatherRows(packed, toOrder, out);
}

/** I32 indices on the device, for `gatherRows`. */
export function uploadIndices(ops: Ops, indices: Int32Array): DeviceTensor {
  const tensor = ops.memory.persistent([indices.length], "i32");
  ops.stream.write(tensor, indices);
  return tensor;
}

function secondsSince(milliseconds: number): number {
  return (performance.now() - milliseconds) / 1000;
}
