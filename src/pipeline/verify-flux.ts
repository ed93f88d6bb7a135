import { join } from "node:path";
import { type DeviceTensor, TamiasError } from "../../ffi/index.ts";
import { AutoencoderKL } from "../models/autoencoder-kl.ts";
import { imagePositionIds, PATCH, unpackLatents } from "../models/flux/latents.ts";
import { FluxTransformer } from "../models/flux/transformer.ts";
import { ClipTextModel } from "../models/text/clip.ts";
import { T5Encoder } from "../models/text/t5.ts";
import { hostValues, type Ops, relativeError } from "../nn/index.ts";
import { FlowMatchEuler } from "../samplers/flow-match-euler.ts";
import { openCheckpoint } from "../weights/diffusers-folder.ts";
import type { Golden, GoldenTensor } from "./golden.ts";
import type { OutputError, VerifiablePart } from "./verify.ts";

/** The parts of FLUX.1 and the reference tensors each is run on, in the order data flows. */
export const fluxParts: readonly VerifiablePart[] = [
  {
    part: "clip",
    kind: "call",
    isIn: (golden) => golden.has("clip.input_ids"),
    async measure(ops, folder, golden) {
      using model = ClipTextModel.load(ops, await openCheckpoint(join(folder, "text_encoder")));
      const states = model.encode(await golden.sequences("clip.input_ids"));
      using lastHiddenState = states.lastHiddenState;
      using pooled = states.pooled;
      const errors = [await compare(ops, pooled, await golden.tensor("clip.pooler_output", "clip.pooled"))];
      if (golden.has("clip.last_hidden_state"))
        errors.push(await compare(ops, lastHiddenState, await golden.tensor("clip.last_hidden_state")));
      return errors;
    },
  },
  {
    part: "t5",
    kind: "call",
    isIn: (golden) => golden.has("t5.input_ids"),
    async measure(ops, folder, golden) {
      using model = T5Encoder.load(ops, await openCheckpoint(join(folder, "text_encoder_2")));
      using states = model.encode(await golden.sequences("t5.input_ids"));
      return [await compare(ops, states, await golden.tensor("t5.last_hidden_state"))];
    },
  },
  {
    part: "transformer",
    kind: "call",
    isIn: (golden) => golden.has("transformer.sample"),
    async measure(ops, folder, golden) {
      using transformer = FluxTransformer.load(ops, await openCheckpoint(join(folder, "transformer")));
      const input = (name: string) => golden.tensor(`transformer.${name}`);
      using hidden = upload(ops, await input("hidden_states"));
      using context = upload(ops, await input("encoder_hidden_states"));
      using pooled = upload(ops, await input("pooled_projections"));
      using positions = transformer.prepare({
        textIds: (await input("txt_ids")).values,
        imageIds: (await input("img_ids")).values,
      });
      const timestep = [...(await input("timestep")).values];
      const guidance = transformer.usesGuidance ? [...(await input("guidance")).values] : undefined;
      const expected = await input("sample");
      using out = ops.memory.temporary(expected.shape);
      transformer.forward({ hidden, context, pooled, positions, timestep, guidance }, out);
      return [await compare(ops, out, expected)];
    },
  },
  {
    part: "vae.decode",
    kind: "call",
    isIn: (golden) => golden.has("vae.decoded"),
    async measure(ops, folder, golden) {
      using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
      using latents = upload(ops, await golden.tensor("vae.latents"), "f32");
      using image = autoencoder.decode(latents);
      return [await compare(ops, image, await golden.tensor("vae.decoded"))];
    },
  },
  {
    part: "vae.encode",
    kind: "call",
    isIn: (golden) => golden.has("vae.encoded_mean"),
    async measure(ops, folder, golden) {
      using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
      using image = upload(ops, await golden.tensor("vae.image"), "f32");
      using mean = autoencoder.encode(image);
      return [await compare(ops, mean, await golden.tensor("vae.encoded_mean"))];
    },
  },
  {
    part: "pipeline",
    kind: "run",
    isIn: (golden) => golden.has("pipeline.sigmas"),
    measure: measurePipeline,
  },
];

/** Denoises from given latents and prompt states, comparing the latents after every step, and decodes the picture. */
async function measurePipeline(ops: Ops, folder: string, golden: Golden): Promise<OutputError[]> {
  using transformer = FluxTransformer.load(ops, await openCheckpoint(join(folder, "transformer")));
  using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
  const sampler = await FlowMatchEuler.open(join(folder, "scheduler"));
  const expectedImage = await golden.tensor("pipeline.image");
  const expectedLatents = await golden.tensor("pipeline.latents_by_step", "pipeline.latents_steps");
  const [, , height = 0, width = 0] = expectedImage.shape;
  const rows = height / (autoencoder.factor * PATCH);
  const columns = width / (autoencoder.factor * PATCH);
  const steps = expectedLatents.shape[0] ?? 0;

  const expectedSigmas = await golden.tensor("pipeline.sigmas");
  const expectedTimesteps = await golden.tensor("pipeline.timesteps");
  const { sigmas, timesteps } = sampler.schedule(steps, rows * columns);
  const errors: OutputError[] = [
    { output: expectedSigmas.name, error: errorOf(sigmas, expectedSigmas) },
    { output: expectedTimesteps.name, error: errorOf(timesteps, expectedTimesteps) },
  ];

  using context = upload(ops, await golden.tensor("pipeline.prompt_embeds", "t5.last_hidden_state"));
  using pooled = upload(ops, await golden.tensor("pipeline.pooled_prompt_embeds", "clip.pooled"));
  const [batch = 0, textTokens = 0] = context.shape;
  using positions = transformer.prepare({
    textIds: new Float32Array(textTokens * 3),
    imageIds: imagePositionIds(rows, columns),
  });
  const guidance = transformer.usesGuidance ? each(batch, golden.guidance) : undefined;
  const first = await golden.tensor("pipeline.latents_in", "pipeline.latents_initial");
  using latents = upload(ops, first, "f32");
  using hidden = ops.memory.temporary(latents.shape);
  using out = ops.memory.temporary(latents.shape);
  using velocity = ops.memory.temporary(latents.shape, "f32");
  for (let step = 0; step < steps; step++) {
    const sigma = sigmas[step] ?? 0;
    ops.copy(latents, hidden);
    transformer.forward({ hidden, context, pooled, positions, timestep: each(batch, sigma), guidance }, out);
    ops.copy(out, velocity);
    ops.combine(1, latents, (sigmas[step + 1] ?? 0) - sigma, velocity, latents);
    errors.push(await compare(ops, latents, itemOf(expectedLatents, step)));
  }

  const channels = transformer.inChannels / PATCH ** 2;
  using unpacked = ops.memory.temporary([batch, channels, rows * PATCH, columns * PATCH], "f32");
  unpackLatents(ops, latents, unpacked);
  using image = autoencoder.decodeScaled(unpacked);
  const pixels = hostValues(ops, image).map((value) => Math.min(1, Math.max(0, value / 2 + 0.5)));
  errors.push({ output: expectedImage.name, error: errorOf(pixels, expectedImage) });
  return errors;
}

function each(count: number, value: number): number[] {
  return Array.from({ length: count }, () => value);
}

/** One item along the first dimension. */
function itemOf({ name, shape, values }: GoldenTensor, index: number): GoldenTensor {
  const size = values.length / (shape[0] ?? 1);
  return {
    name: `${name}[${index}]`,
    shape: shape.slice(1),
    values: values.subarray(index * size, (index + 1) * size),
  };
}

function upload(ops: Ops, { shape, values }: GoldenTensor, dtype = ops.activationType): DeviceTensor {
  const wide = ops.memory.temporary(shape, "f32");
  ops.stream.write(wide, values);
  if (dtype === "f32") return wide;
  using source = wide;
  const tensor = ops.memory.temporary(shape, dtype);
  ops.copy(source, tensor);
  return tensor;
}

async function compare(ops: Ops, ours: DeviceTensor, expected: GoldenTensor): Promise<OutputError> {
  if (ours.shape.join() !== expected.shape.join())
    throw new TamiasError(
      "bad_weights",
      `The reference "${expected.name}" is [${expected.shape.join(", ")}], this model makes [${ours.shape.join(", ")}].`,
    );
  return { output: expected.name, error: errorOf(hostValues(ops, ours), expected) };
}

/** Infinite where sizes differ. */
function errorOf(ours: ArrayLike<number>, { values }: GoldenTensor): number {
  return ours.length === values.length ? relativeError(ours, values) : Number.POSITIVE_INFINITY;
}
