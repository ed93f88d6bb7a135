import { existsSync } from "node:fs";
import { join } from "node:path";
import { Device, type DeviceTensor, TamiasError } from "../../ffi/index.ts";
import { AutoencoderKL } from "../models/autoencoder-kl.ts";
import { imagePositionIds, unpackLatents } from "../models/flux/latents.ts";
import { FluxTransformer } from "../models/flux/transformer.ts";
import { ClipTextModel } from "../models/text/clip.ts";
import { T5Encoder } from "../models/text/t5.ts";
import { Ops } from "../nn/index.ts";
import { FlowMatchEuler } from "../samplers/flow-match-euler.ts";
import { openCheckpoint } from "../weights/diffusers-folder.ts";
import { readTensorFloat32, readTensorInt32 } from "../weights/read-tensor.ts";
import { readSafetensors, type SafetensorsFile } from "../weights/safetensors.ts";
import { findModel } from "./models.ts";

export interface VerifyRow {
  /** clip, t5, transformer, vae.decode, vae.encode, pipeline */
  readonly part: string;
  /** Relative L2 error, the largest of the part's tensors. */
  readonly error: number;
  readonly tolerance: number;
  readonly ok: boolean;
  readonly seconds: number;
}

/** Agreement asked of single calls and of whole pipelines, by arithmetic. */
const tolerances = { cpu: { call: 1e-4, pipeline: 1e-3 }, cuda: { call: 2e-2, pipeline: 5e-2 } };

/**
 * Runs every part of a diffusers folder that its `golden.safetensors` holds, and compares.
 * @throws TamiasError when the folder, its golden file or a network is missing or damaged
 */
export async function verifyFolder(
  folder: string,
  { device: backend = "auto", threads }: { device?: "auto" | "cpu" | "cuda"; threads?: number } = {},
): Promise<VerifyRow[]> {
  const entry = await findModel(folder);
  const path = join(entry.folder, "golden.safetensors");
  if (!existsSync(path))
    throw new TamiasError("not_found", `${entry.folder} has no golden.safetensors to compare with.`);
  const golden = new Golden(await readSafetensors(path));
  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  const tolerance = tolerances[device.backend];
  const rows: VerifyRow[] = [];
  for (const check of checks) {
    const began = performance.now();
    const errors = await check.run(ops, entry.folder, golden);
    if (errors.length === 0) continue;
    const error = Math.max(
      ...errors.map((value) => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value)),
    );
    const allowed = check.isPipeline ? tolerance.pipeline : tolerance.call;
    const seconds = (performance.now() - began) / 1000;
    rows.push({ part: check.part, error, tolerance: allowed, ok: error <= allowed, seconds });
  }
  if (rows.length === 0) throw new TamiasError("not_found", `${path} holds no part this build knows.`);
  return rows;
}

/** Relative L2 errors of the tensors of one part; empty when the golden file does not hold it. */
interface Check {
  readonly part: string;
  readonly isPipeline?: boolean;
  run(ops: Ops, folder: string, golden: Golden): Promise<number[]>;
}

const checks: readonly Check[] = [
  { part: "clip", run: checkClip },
  { part: "t5", run: checkT5 },
  { part: "transformer", run: checkTransformer },
  { part: "vae.decode", run: checkDecode },
  { part: "vae.encode", run: checkEncode },
  { part: "pipeline", isPipeline: true, run: checkPipeline },
];

async function checkClip(ops: Ops, folder: string, golden: Golden): Promise<number[]> {
  if (!golden.has("clip.input_ids")) return [];
  using clip = ClipTextModel.load(ops, await openCheckpoint(join(folder, "text_encoder")));
  const states = clip.encode(await golden.sequences("clip.input_ids"));
  using hidden = states.lastHiddenState;
  using pooled = states.pooled;
  return [
    ...(await golden.errors(ops, "clip.last_hidden_state", hidden)),
    ...(await golden.errors(ops, golden.has("clip.pooled") ? "clip.pooled" : "clip.pooler_output", pooled)),
  ];
}

async function checkT5(ops: Ops, folder: string, golden: Golden): Promise<number[]> {
  if (!golden.has("t5.input_ids")) return [];
  using t5 = await T5Encoder.load(ops, await openCheckpoint(join(folder, "text_encoder_2")));
  using states = t5.encode(await golden.sequences("t5.input_ids"));
  return golden.errors(ops, "t5.last_hidden_state", states);
}

async function checkTransformer(ops: Ops, folder: string, golden: Golden): Promise<number[]> {
  if (!golden.has("transformer.sample")) return [];
  using transformer = FluxTransformer.load(ops, await openCheckpoint(join(folder, "transformer")));
  using positions = transformer.prepare({
    textIds: await golden.values("transformer.txt_ids"),
    imageIds: await golden.values("transformer.img_ids"),
  });
  using hidden = await golden.upload(ops, "transformer.hidden_states");
  using context = await golden.upload(ops, "transformer.encoder_hidden_states");
  using pooled = await golden.upload(ops, "transformer.pooled_projections");
  using out = ops.temporary(golden.shape("transformer.sample"));
  const guidance = golden.has("transformer.guidance")
    ? [...(await golden.values("transformer.guidance"))]
    : undefined;
  const timestep = [...(await golden.values("transformer.timestep"))];
  transformer.forward({ hidden, context, pooled, timestep, guidance, positions }, out);
  return golden.errors(ops, "transformer.sample", out);
}

async function checkDecode(ops: Ops, folder: string, golden: Golden): Promise<number[]> {
  if (!golden.has("vae.decoded")) return [];
  using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
  using latents = await golden.upload(ops, "vae.latents");
  using picture = autoencoder.decode(latents);
  return golden.errors(ops, "vae.decoded", picture);
}

async function checkEncode(ops: Ops, folder: string, golden: Golden): Promise<number[]> {
  if (!golden.has("vae.encoded_mean")) return [];
  using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
  using picture = await golden.upload(ops, "vae.image");
  using mean = autoencoder.encode(picture);
  return golden.errors(ops, "vae.encoded_mean", mean);
}

/** From given latents and prompt states through every step to the picture; dense, in raster order. */
async function checkPipeline(ops: Ops, folder: string, golden: Golden): Promise<number[]> {
  const first = golden.firstOf("pipeline.latents_in", "pipeline.latents_initial");
  const byStep = golden.firstOf("pipeline.latents_by_step", "pipeline.latents_steps");
  if (!first || !byStep) return [];
  using transformer = FluxTransformer.load(ops, await openCheckpoint(join(folder, "transformer")));
  using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
  const sampler = await FlowMatchEuler.open(join(folder, "scheduler"));
  using context = await golden.upload(ops, golden.firstOf("pipeline.prompt_embeds", "t5.last_hidden_state")!);
  using pooled = await golden.upload(ops, golden.firstOf("pipeline.pooled_prompt_embeds", "clip.pooled")!);
  const { rows, columns, guidance } = await golden.pipelineSettings(folder, autoencoder.factor);
  const [batch = 1, tokens = 0] = golden.shape(first);
  const steps = golden.shape(byStep)[0] ?? 0;
  using positions = transformer.prepare({
    textIds: new Float32Array((context.shape[1] ?? 0) * 3),
    imageIds: imagePositionIds(rows, columns),
  });

  const { sigmas, timesteps } = sampler.schedule(steps, tokens);
  const errors = [
    relativeError(sigmas, await golden.values("pipeline.sigmas")),
    relativeError(timesteps, await golden.values("pipeline.timesteps")),
  ];
  using latents = ops.temporary(golden.shape(first), "f32");
  ops.stream.write(latents, await golden.values(first));
  using hidden = ops.temporary(latents.shape);
  using velocity = ops.temporary(latents.shape);
  const expected = await golden.values(byStep);
  for (let step = 0; step < steps; step++) {
    ops.copy(latents, hidden);
    const at = { timestep: Array(batch).fill(sigmas[step]!), guidance: Array(batch).fill(guidance) };
    transformer.forward({ hidden, context, pooled, positions, ...at }, velocity);
    ops.combine(1, latents, sigmas[step + 1]! - sigmas[step]!, velocity, latents);
    await ops.stream.finished();
    const found = ops.stream.read(latents, new Float32Array(latents.elements));
    errors.push(relativeError(found, expected.subarray(step * found.length, (step + 1) * found.length)));
  }

  const [, channels = 0] = [batch, transformer.inChannels / 4];
  using unpacked = ops.temporary([batch, channels, 2 * rows, 2 * columns], "f32");
  unpackLatents(ops, latents, unpacked);
  using picture = autoencoder.decodeScaled(unpacked);
  const found = await download(ops, picture);
  const clamped = found.map((value) => Math.min(1, Math.max(0, value / 2 + 0.5)));
  return [...errors, relativeError(clamped, await golden.values("pipeline.image"))];
}

/** Reference inputs and outputs, by name. */
class Golden {
  readonly #file: SafetensorsFile;

  constructor(file: SafetensorsFile) {
    this.#file = file;
  }

  has(name: string): boolean {
    return this.#file.tensors.has(name);
  }

  firstOf(...names: string[]): string | undefined {
    return names.find((name) => this.has(name));
  }

  shape(name: string): readonly number[] {
    return this.#entry(name).shape;
  }

  values(name: string): Promise<Float32Array> {
    return readTensorFloat32(this.#entry(name));
  }

  /** Rows of an I32 matrix. */
  async sequences(name: string): Promise<Int32Array[]> {
    const ids = await readTensorInt32(this.#entry(name));
    const length = this.shape(name)[1] ?? 0;
    return Array.from({ length: ids.length / length }, (_, row) =>
      ids.subarray(row * length, (row + 1) * length),
    );
  }

  /** On the device, in the dtype of activations. */
  async upload(ops: Ops, name: string): Promise<DeviceTensor> {
    const values = await this.values(name);
    using wide = ops.temporary(this.shape(name), "f32");
    ops.stream.write(wide, values);
    const tensor = ops.temporary(this.shape(name));
    ops.copy(wide, tensor);
    return tensor;
  }

  /** The relative L2 error of a tensor, or nothing where the file does not hold it. */
  async errors(ops: Ops, name: string, found: DeviceTensor): Promise<number[]> {
    if (!this.has(name)) return [];
    if (found.shape.join() !== this.shape(name).join())
      throw new TamiasError(
        "bad_weights",
        `${name} should be [${this.shape(name).join(", ")}], the network gives [${found.shape.join(", ")}].`,
      );
    return [relativeError(await download(ops, found), await this.values(name))];
  }

  /** Token grid and guidance, from `golden.json` beside the file or from the file's own metadata. */
  async pipelineSettings(
    folder: string,
    factor: number,
  ): Promise<{ rows: number; columns: number; guidance: number }> {
    const beside = Bun.file(join(folder, "golden.json"));
    const json = (await beside.exists()) ? ((await beside.json()) as Record<string, unknown>) : {};
    const guidance = Number(json["guidance_scale"] ?? this.#file.metadata["guidance_scale"] ?? 3.5);
    const [, , height = 0, width = 0] = this.shape("pipeline.image");
    return { rows: height / (2 * factor), columns: width / (2 * factor), guidance };
  }

  #entry(name: string) {
    const entry = this.#file.tensors.get(name);
    if (!entry) throw new TamiasError("not_found", `The golden file holds no ${name}.`);
    return entry;
  }
}

async function download(ops: Ops, tensor: DeviceTensor): Promise<Float32Array> {
  using wide = ops.temporary(tensor.shape, "f32");
  ops.copy(tensor, wide);
  await ops.stream.finished();
  return ops.stream.read(wide, new Float32Array(wide.elements));
}

function relativeError(found: Float32Array, expected: Float32Array): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let norm = 0;
  found.forEach((value, at) => {
    difference += (value - expected[at]!) ** 2;
    norm += expected[at]! ** 2;
  });
  return Math.sqrt(difference / norm);
}
