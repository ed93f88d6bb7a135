import { join } from "node:path";
import type { Ops } from "../../nn/index.ts";
import { openCheckpoint } from "../../weights/diffusers-folder.ts";
import { AutoencoderKL } from "../autoencoder-kl.ts";
import type { GoldenRun } from "../family.ts";
import { compare, type GoldenPart, upload } from "../golden-part.ts";
import type { Golden } from "../shared/golden.ts";
import { ClipTextModel } from "../text/clip.ts";
import { T5Encoder } from "../text/t5.ts";
import { FluxConditioning } from "./conditioning.ts";
import { FluxTransformer } from "./transformer.ts";

/** The parts of FLUX.1 and the reference tensors each is run on. */
export const goldenParts: readonly GoldenPart[] = [
  {
    part: "clip",
    isIn: (golden) => golden.has("clip.input_ids"),
    async measure(ops, folder, golden) {
      using model = ClipTextModel.load(ops, await openCheckpoint(join(folder, "text_encoder")));
      const states = model.encode(await golden.sequences("clip.input_ids"));
      using lastHiddenState = states.lastHiddenState;
      using pooled = states.pooled;
      const errors = [compare(ops, pooled, await golden.tensor("clip.pooler_output", "clip.pooled"))];
      if (golden.has("clip.last_hidden_state"))
        errors.push(compare(ops, lastHiddenState, await golden.tensor("clip.last_hidden_state")));
      return errors;
    },
  },
  {
    part: "t5",
    isIn: (golden) => golden.has("t5.input_ids"),
    async measure(ops, folder, golden) {
      using model = T5Encoder.load(ops, await openCheckpoint(join(folder, "text_encoder_2")));
      using states = model.encode(await golden.sequences("t5.input_ids"));
      return [compare(ops, states, await golden.tensor("t5.last_hidden_state"))];
    },
  },
  {
    part: "transformer",
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
      return [compare(ops, out, expected)];
    },
  },
  {
    part: "vae.decode",
    isIn: (golden) => golden.has("vae.decoded"),
    async measure(ops, folder, golden) {
      using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
      using latents = upload(ops, await golden.tensor("vae.latents"), "f32");
      using image = autoencoder.decode(latents);
      return [compare(ops, image, await golden.tensor("vae.decoded"))];
    },
  },
  {
    part: "vae.encode",
    isIn: (golden) => golden.has("vae.encoded_mean"),
    async measure(ops, folder, golden) {
      using autoencoder = AutoencoderKL.load(ops, await openCheckpoint(join(folder, "vae")));
      using image = upload(ops, await golden.tensor("vae.image"), "f32");
      using mean = autoencoder.encode(image);
      return [compare(ops, mean, await golden.tensor("vae.encoded_mean"))];
    },
  },
];

/** @param multiple pixels along each side of a token */
export async function goldenRun(
  ops: Ops,
  transformer: FluxTransformer,
  multiple: number,
  golden: Golden,
): Promise<GoldenRun> {
  const pictures = await golden.tensor("pipeline.image");
  const [, , height = 0, width = 0] = pictures.shape;
  const contextValues = await golden.tensor("pipeline.prompt_embeds", "t5.last_hidden_state");
  const pooledValues = await golden.tensor("pipeline.pooled_prompt_embeds", "clip.pooled");
  const guidance = transformer.usesGuidance ? golden.guidance : null;
  return {
    grid: [1, height / multiple, width / multiple],
    condition(layout) {
      using states = new DisposableStack();
      const context = states.use(upload(ops, contextValues));
      const pooled = states.use(upload(ops, pooledValues));
      return new FluxConditioning(
        ops,
        transformer,
        { context, pooled, guidance, owner: states.move() },
        layout,
      );
    },
    sigmas: await golden.tensor("pipeline.sigmas"),
    timesteps: await golden.tensor("pipeline.timesteps"),
    start: await golden.tensor("pipeline.latents_in", "pipeline.latents_initial"),
    bySteps: await golden.tensor("pipeline.latents_by_step", "pipeline.latents_steps"),
    arePacked: true,
    pictures,
  };
}
