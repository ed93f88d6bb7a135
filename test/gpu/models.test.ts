import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { libraryPath } from "../../ffi/index.ts";
import { psnr } from "../../src/media/metrics.ts";
import type { ResultEvent } from "../../src/pipeline/events.ts";
import { open } from "../../src/pipeline/open.ts";
import { verifyFolder } from "../../src/pipeline/verify.ts";
import { tinyFlux } from "../models/with-ops.ts";
import { cudaIsMissing } from "./why-no-cuda.ts";

const skip = await cudaIsMissing("The models");

test.skipIf(skip)("every part of the tiny FLUX agrees with the reference at bf16's tolerance", async () => {
  const rows = await verifyFolder(tinyFlux, { device: "cuda" });
  expect(rows.map(({ part }) => part)).toContain("pipeline");
  expect(rows.filter(({ ok }) => !ok)).toEqual([]);
});

async function picture(device: "cpu" | "cuda", policy: string, size: number): Promise<ResultEvent> {
  await using tamias = await open({ model: "acorn-image", device });
  let last: ResultEvent | undefined;
  const request = { prompt: "3d render of a fox on a sky blue background", steps: 12, seed: 7 };
  for await (const event of tamias.generate({ ...request, width: size, height: size, policy }))
    if (event.type === "result") last = event;
  return last!;
}

describe("acorn-image", () => {
  test.skipIf(skip || !existsSync(libraryPath("cpu")))(
    "makes the same picture as the CPU",
    async () => {
      const [cuda, cpu] = [await picture("cuda", "exact", 256), await picture("cpu", "exact", 256)];
      expect(psnr(cuda, cpu)).toBeGreaterThan(35);
    },
    120_000,
  );

  test.skipIf(skip)(
    "with deltas stays near its own exact picture, and says the same bytes twice",
    async () => {
      const exact = await picture("cuda", "exact", 512);
      const balanced = await picture("cuda", "balanced", 512);
      expect(balanced.density).toBeLessThan(0.9);
      expect(psnr(balanced, exact)).toBeGreaterThan(25);
      expect((await picture("cuda", "balanced", 512)).rgb).toEqual(balanced.rgb);
    },
    120_000,
  );
});
