import { type DeviceTensor, Device, TamiasError } from "../../ffi/index.ts";
import { exact } from "../delta/policies/exact.ts";
import type { Family, FamilyKind, GoldenRun } from "../models/family.ts";
import { compare, errorOf, itemOf, type OutputError, upload } from "../models/golden-part.ts";
import { Golden } from "../models/shared/golden.ts";
import { hostValues, Ops } from "../nn/index.ts";
import { denoise } from "./denoise.ts";
import { uploadIndices } from "./generate.ts";
import { findModel } from "./models.ts";
import type { OpenOptions } from "./open.ts";
import { decodeTokens } from "./pictures.ts";
import { layOutTokens } from "./token-layout.ts";

export interface VerifiedPart {
  readonly part: string;
  /** The largest relative L2 error of its outputs. */
  readonly error: number;
  readonly tolerance: number;
  readonly ok: boolean;
  /** Loading included. */
  readonly seconds: number;
  readonly outputs: readonly OutputError[];
}

/** Relative L2 errors that rounding explains: float32 on the CPU, bfloat16 on a GPU. A whole run adds up more of it. */
const tolerances = {
  cpu: { call: 1e-4, run: 1e-3 },
  cuda: { call: 2e-2, run: 5e-2 },
} as const;

/**
 * Runs each part of a model on the reference inputs in its folder, and compares the outputs.
 * @param model a folder in diffusers format with `golden.safetensors`, or the name of a model that has one
 * @returns one row for each part that the reference file holds
 * @throws TamiasError `unsupported` for another kind of pipeline, `not_found` or `bad_weights` when files are missing or
 *   damaged
 */
export async function verifyFolder(
  model: string,
  { device: backend = "auto", threads }: Pick<OpenOptions, "device" | "threads"> = {},
): Promise<VerifiedPart[]> {
  const { folder, kind } = await findModel(model);
  const golden = await Golden.open(folder);
  const parts = kind.goldenParts.filter((part) => part.isIn(golden));
  const hasRun = golden.has("pipeline.sigmas");
  if (parts.length === 0 && !hasRun)
    throw new TamiasError("not_found", `${folder} has reference outputs of no part that this build knows.`);

  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  const rows: VerifiedPart[] = [];
  const verify = async (part: string, kindOf: "call" | "run", run: () => Promise<readonly OutputError[]>) => {
    const began = performance.now();
    const outputs = await run();
    const error = outputs.reduce((largest, output) => worse(largest, output.error), 0);
    const tolerance = tolerances[device.backend][kindOf];
    const seconds = (performance.now() - began) / 1000;
    rows.push({ part, error, tolerance, ok: error <= tolerance, seconds, outputs });
  };
  for (const part of parts) await verify(part.part, "call", () => part.measure(ops, folder, golden));
  if (hasRun) await verify("pipeline", "run", () => repeatRun(ops, kind, folder, golden));
  return rows;
}

/** The denoising loop from given noise and text states, comparing the latents after every step, and the pictures. */
async function repeatRun(ops: Ops, kind: FamilyKind, folder: string, golden: Golden): Promise<OutputError[]> {
  const files = await kind.open(folder, { text: false });
  using family = await files.load(ops);
  const run = await family.goldenRun(golden);
  const layout = layOutTokens(run.grid);
  const steps = run.bySteps.shape[0] ?? 0;
  const { sigmas, timesteps } = family.sampler.schedule(steps, layout.order.order.length);
  const errors: OutputError[] = [
    { output: run.sigmas.name, error: errorOf(sigmas, run.sigmas) },
    { output: run.timesteps.name, error: errorOf(timesteps, run.timesteps) },
  ];

  using conditioning = run.condition(layout);
  using toOrder = uploadIndices(ops, layout.order.order);
  using toRaster = uploadIndices(ops, layout.order.inverse);
  using start = startTokens(ops, family, run);
  using latents = ops.memory.temporary(start.shape, "f32");
  ops.gatherRows(start, toOrder, latents);
  using raster = ops.memory.temporary(start.shape, "f32");
  for await (const { step } of denoise(ops, {
    family,
    conditioning,
    policy: exact,
    steps,
    latents,
    seed: 0,
    isWatched: true,
  })) {
    ops.gatherRows(latents, toRaster, raster);
    errors.push(compareLatents(ops, family, run, raster, step));
  }

  using image = decodeTokens(ops, family, run.grid, latents, toRaster);
  // Clips: the reference has frames before channels.
  const frameFirst = image.shape.length === 5 ? image.permute(0, 2, 1, 3, 4) : image;
  const pixels = hostValues(ops, frameFirst).map((value) => Math.min(1, Math.max(0, value / 2 + 0.5)));
  errors.push({ output: run.pictures.name, error: errorOf(pixels, run.pictures) });
  return errors;
}

function startTokens(ops: Ops, family: Family, { start, arePacked, grid }: GoldenRun): DeviceTensor {
  const given = upload(ops, start, "f32");
  if (arePacked) return given;
  using latents = given;
  const tokens = ops.memory.temporary(
    [start.shape[0] ?? 1, grid[0] * grid[1] * grid[2], family.tokenChannels],
    "f32",
  );
  family.pack(latents, tokens);
  return tokens;
}

function compareLatents(
  ops: Ops,
  family: Family,
  { bySteps, arePacked }: GoldenRun,
  tokens: DeviceTensor,
  step: number,
): OutputError {
  const expected = itemOf(bySteps, step);
  if (arePacked) return compare(ops, tokens, expected);
  using latents = ops.memory.temporary(expected.shape, "f32");
  family.unpack(tokens, latents);
  return compare(ops, latents, expected);
}

/** The larger error; NaN counts as infinite. */
function worse(a: number, b: number): number {
  return Math.max(a, Number.isNaN(b) ? Number.POSITIVE_INFINITY : b);
}
