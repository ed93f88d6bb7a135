import { expect, test } from "bun:test";
import { cp, open as openFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { open } from "../../src/pipeline/open.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const request = { prompt: "a red fox", width: 16, height: 16, steps: 4, seed: 7, policy: "exact" };
const NAN = Uint8Array.of(0xc0, 0x7f);
const INFINITY = Uint8Array.of(0x80, 0x7f);

/** Puts bfloat16 bits into the first value of a weight of a copy of the tiny model, and draws with it. */
async function drawWith(
  part: string,
  weight: string,
  bits: Uint8Array,
): Promise<{ steps: number; error: unknown }> {
  await using folder = await temporaryFolder();
  const model = await makeTinyModel(folder.path);
  await cp(join(model, part), join(folder.path, "part"), { recursive: true, dereference: true });
  await rm(join(model, part));
  await cp(join(folder.path, "part"), join(model, part), { recursive: true });
  const entry = (await openCheckpoint(join(model, part))).get(weight);
  expect(entry.dtype).toBe("BF16");
  const file = await openFile(entry.path, "r+");
  await file.write(bits, 0, bits.length, entry.byteOffset);
  await file.close();

  let steps = 0;
  try {
    await using tamias = await open({ model, device: "cpu", threads: 1 });
    for await (const event of tamias.generate(request)) if (event.type === "step") steps++;
  } catch (error) {
    return { steps, error };
  }
  return { steps, error: undefined };
}

test.each<[string, string, string, Uint8Array, number, RegExp]>([
  ["NaN in the transformer", "transformer", "proj_out.weight", NAN, 0, /Step 1 gave/],
  ["infinity in the transformer", "transformer", "x_embedder.weight", INFINITY, 0, /Step 1 gave/],
  ["NaN in a text encoder", "text_encoder_2", "encoder.final_layer_norm.weight", NAN, 0, /Step 1 gave/],
  ["NaN in the decoder", "vae", "decoder.conv_out.weight", NAN, 4, /decoder gave/],
])("%s fails, saying where", async (_, part, weight, bits, steps, sentence) => {
  const drawn = await drawWith(part, weight, bits);
  expect(drawn.error).toMatchObject({ code: "not_finite", message: expect.stringMatching(sentence) });
  expect(drawn.steps).toBe(steps);
});
