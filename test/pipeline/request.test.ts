import { describe, expect, test } from "bun:test";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { inspectRun } from "../../src/pipeline/inspect.ts";
import { open } from "../../src/pipeline/open.ts";
import { settleRequest } from "../../src/pipeline/request.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const sizes = { native: 256, multiple: 16 };
const dev = { sizes, defaults: { steps: 20, guidance: 3.5 } };
const schnell = { sizes, defaults: { steps: 4, guidance: null } };

describe("what a request leaves open follows the checkpoint", () => {
  test("steps, guidance and size", () => {
    const { settings, notes } = settleRequest("dev", dev, { prompt: "a fox", seed: 1 });
    expect(settings).toEqual({
      model: "dev",
      prompt: "a fox",
      width: 256,
      height: 256,
      steps: 20,
      seed: 1,
      guidance: 3.5,
      policy: "balanced",
    });
    expect(notes).toEqual([]);
    expect(settleRequest("schnell", schnell, { prompt: "a fox" }).settings).toMatchObject({
      steps: 4,
      guidance: null,
    });
  });

  test("one side gives the other; what is given stands", () => {
    const asked = { prompt: "a fox", width: 64, steps: 7, guidance: 2, policy: "exact" };
    expect(settleRequest("dev", dev, asked).settings).toMatchObject({ ...asked, height: 64 });
  });

  test("a guidance that is not used is told, and not recorded", () => {
    const { settings, notes } = settleRequest("schnell", schnell, { prompt: "a fox", guidance: 5 });
    expect(settings.guidance).toBeNull();
    expect(notes).toEqual(["guidance 5 is not used: schnell was distilled without guidance."]);
  });

  test("a size between tokens names the nearest", () => {
    const settle = () => settleRequest("dev", dev, { prompt: "a fox", width: 100 });
    expect(settle).toThrow(
      expect.objectContaining({ code: "bad_input", hint: expect.stringContaining("96 and 112") }),
    );
  });

  test("half of a surrogate pair is no prompt", () => {
    expect(() => settleRequest("dev", dev, { prompt: "a \ud83d fox" })).toThrow(/prompt.*Unicode/);
  });
});

/** The tiny model as one that was distilled without guidance. */
async function unguided(parent: string): Promise<string> {
  const model = await makeTinyModel(parent);
  const transformer = join(model, "transformer");
  await cp(transformer, join(parent, "transformer"), { recursive: true, dereference: true });
  await rm(transformer);
  await cp(join(parent, "transformer"), transformer, { recursive: true });
  const path = join(transformer, "config.json");
  await Bun.write(path, JSON.stringify({ ...(await Bun.file(path).json()), guidance_embeds: false }));
  return model;
}

test("a model without guidance takes four steps, and says in `start` what it did not use", async () => {
  await using folder = await temporaryFolder();
  const model = await unguided(folder.path);
  await using tamias = await open({ model, device: "cpu", threads: 1 });
  expect(tamias.defaults).toEqual({ steps: 4, guidance: null });
  const request = { prompt: "a red fox", width: 32, height: 16, seed: 7 };
  const events = await Array.fromAsync(tamias.generate({ ...request, guidance: 3 }));
  expect(events[0]).toMatchObject({
    type: "start",
    settings: { steps: 4, guidance: null },
    notes: [expect.stringContaining("guidance 3")],
    grid: [1, 1, 2],
    tokenOrder: Int32Array.of(0, 1),
  });
  const plain = await Array.fromAsync(tamias.generate(request));
  expect(plain[0]).toMatchObject({ notes: [] });
  expect(plain.at(-1)).toMatchObject({ rgb: (events.at(-1) as { rgb: Uint8Array }).rgb });
});

test("a run can be looked at without loading a weight", async () => {
  await using folder = await temporaryFolder();
  const model = await unguided(folder.path);
  await rm(join(model, "vae"));
  const options = { prompt: "a red fox", width: 32, height: 32 };
  await expect(inspectRun({ model, device: "cpu" }, options)).rejects.toMatchObject({ code: "not_found" });
  const whole = await inspectRun({ model: "acorn-image", device: "cpu" }, options);
  expect(whole).toMatchObject({ model: "acorn-image", settings: { width: 32, steps: 20 }, fits: true });
  const { weights, text, denoising, decoding, most } = whole.needs;
  expect(weights).toBeGreaterThan(100e6);
  for (const phase of [text, denoising, decoding]) expect(phase).toBeGreaterThan(weights);
  expect(most).toBe(Math.max(text, denoising, decoding));
});
