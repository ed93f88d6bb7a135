import { Device, TamiasError } from "../../ffi/index.ts";
import { Ops } from "../nn/index.ts";
import { Golden } from "./golden.ts";
import { findModel } from "./models.ts";
import type { OpenOptions } from "./open.ts";
import { fluxParts } from "./verify-flux.ts";

/** One part of a model, ready to be run on its reference inputs. */
export interface VerifiablePart {
  readonly part: string;
  /** A whole run adds up more rounding than a single call. */
  readonly kind: "call" | "run";
  isIn(golden: Golden): boolean;
  /** Runs the part and returns the relative L2 error of each of its outputs. */
  measure(ops: Ops, folder: string, golden: Golden): Promise<readonly OutputError[]>;
}

export interface OutputError {
  readonly output: string;
  /** ‖ours - reference‖ / ‖reference‖ */
  readonly error: number;
}

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

/** Relative L2 errors that rounding explains: float32 on the CPU, bfloat16 on a GPU. */
const tolerances = {
  cpu: { call: 1e-4, run: 1e-3 },
  cuda: { call: 2e-2, run: 5e-2 },
} as const;

const families: Readonly<Record<string, readonly VerifiablePart[]>> = { FluxPipeline: fluxParts };

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
  const { folder, pipeline } = await findModel(model);
  const family = families[pipeline];
  if (!family)
    throw new TamiasError("unsupported", `${folder} is a ${pipeline}, which cannot be verified yet.`);
  const golden = await Golden.open(folder);
  const parts = family.filter((part) => part.isIn(golden));
  if (parts.length === 0)
    throw new TamiasError("not_found", `${folder} has reference outputs of no part that this build knows.`);

  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  const rows: VerifiedPart[] = [];
  for (const part of parts) {
    const began = performance.now();
    const outputs = await part.measure(ops, folder, golden);
    const error = outputs.reduce((largest, output) => worse(largest, output.error), 0);
    const tolerance = tolerances[device.backend][part.kind];
    const seconds = (performance.now() - began) / 1000;
    rows.push({ part: part.part, error, tolerance, ok: error <= tolerance, seconds, outputs });
  }
  return rows;
}

/** The larger error; NaN counts as infinite. */
function worse(a: number, b: number): number {
  return Math.max(a, Number.isNaN(b) ? Number.POSITIVE_INFINITY : b);
}
