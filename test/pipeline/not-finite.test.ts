import { expect, test } from "bun:test";
import { cp, open as openFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { open } from "../../src/pipeline/open.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const request = { prompt: "a red fox", width: 16, height: 16, steps: 4, seed: 7, policy: "exact" };
/** bfloat16 bits, low byte first. */
const NAN = Uint8Array.of(0xc0, 0x7f);
const INFINITY = Uint8Array.of(0x80, 0x7f);
const TO_THE_18 = Uint8Array.of(0x5e, 0x5d);

/** Puts bits into the first value of weights of a part of the tiny model's copy, and draws with it. */
async function drawWith(
  part: string,
  weights: readonly string[],
  bits: Uint8Array,
): Promise<{ steps: number; error: unknown }> {
  await using folder = await temporaryFolder();
  const model = await makeTinyModel(folder.path);
  await cp(join(model, part), join(folder.path, "part"), { recursive: true, dereference: true });
  await rm(join(model, part));
  await cp(join(folder.path, "part"), join(model, part), { recursive: true });
  const checkpoint = await openCheckpoint(join(model, part));
  for (const weight of weights) {
    const entry = checkpoint.get(weight);
    expect(entry.dtype).toBe("BF16");
    const file = await openFile(entry.path, "r+");
    await file.write(bits, 0, bits.length, entry.byteOffset);
    await file.close();
  }

  let steps = 0;
  try {
    await using tamias = await open({ model, device: "cpu", threads: 1 });
    for await (const event of tamias.generate(request)) if (event.type === "step") steps++;
  } catch (error) {
    return { steps, error };
  }
  return { steps, error: undefined };
}

test.each<[string, string, string, Uint8Array]>([
  ["NaN in the transformer", "transformer", "proj_out.weight", NAN],
  ["infinity in the transformer", "transformer", "x_embedder.weight", INFINITY],
  ["NaN in a text encoder", "text_encoder_2", "encoder.final_layer_norm.weight", NAN],
  ["NaN in the decoder", "vae", "decoder.conv_out.weight", NAN],
])("%s is refused while loading, by name", async (_, part, weight, bits) => {
  const { steps, error } = await drawWith(part, [weight], bits);
  const where = expect.stringMatching(new RegExp(`/${part}/.*${weight}`));
  expect(error).toMatchObject({ code: "bad_weights", message: where });
  expect(steps).toBe(0);
});

test("values that grow beyond numbers fail the step that gave them", async () => {
  // Three layers of the embedded timestep in a row, each 10^18 times too large.
  const weights = [
    "time_text_embed.timestep_embedder.linear_1.weight",
    "time_text_embed.timestep_embedder.linear_2.weight",
    "norm_out.linear.weight",
  ];
  const { steps, error } = await drawWith("transformer", weights, TO_THE_18);
  expect(error).toMatchObject({ code: "not_finite", message: expect.stringContaining("Step 1 gave") });
  expect(steps).toBe(0);
});
