import { expect, test } from "bun:test";
import { Device } from "../../ffi/index.ts";
import type { Costs } from "../../src/delta/cost-model.ts";
import type { ColumnPolicySettings } from "../../src/delta/column-policy.ts";
import { placeCaches } from "../../src/delta/placement.ts";
import { Ops } from "../../src/nn/index.ts";
import type { ResultEvent, StepEvent } from "../../src/pipeline/events.ts";
import { type Engine, generate } from "../../src/pipeline/generate.ts";
import { openMaskStream } from "../../src/pipeline/mask-stream.ts";
import { findModel } from "../../src/pipeline/models.ts";
import { RunCounter } from "../../src/pipeline/needs.ts";
import { type Request, settleRequest } from "../../src/pipeline/request.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { cudaIsMissing } from "./why-no-cuda.ts";

const skip = await cudaIsMissing("Deltas of whole runs");

/** The tiny model's modules are far too small for deltas to pay on a GPU. */
const freeDeltas: Costs = {
  attention: { gather: 0, overheadOperations: 0 },
  mlp: { gather: 0, selection: 0, overheadOperations: 0 },
};
const topK = { kind: "topK", density: 0.3 } as const;
const policy: ColumnPolicySettings = {
  attention: { select: topK, refresh: { from: 1, every: 3 } },
  mlp: { select: topK, refresh: { from: 1, every: 4 } },
};

async function withTiny(
  body: (
    engine: Engine & { readonly device: Device },
    request: Request,
    counter: RunCounter,
  ) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const { kind, folder: path } = await findModel(await makeTinyModel(folder.path));
  const files = await kind.open(path);
  using device = await Device.open({ backend: "cuda" });
  using stream = device.createStream();
  using ops = new Ops(stream);
  using counter = await RunCounter.open(device, files, freeDeltas);
  using family = await files.load(ops);
  const options = { prompt: "a red fox", width: 256, height: 256, steps: 9, seed: 7, policy };
  await body({ family, ops, costs: freeDeltas, device }, settleRequest("tiny", family, options), counter);
}

async function run(engine: Engine, request: Request): Promise<{ rgb: Uint8Array; steps: StepEvent[] }> {
  const steps: StepEvent[] = [];
  let result: ResultEvent | undefined;
  for await (const event of generate(engine, request)) {
    if (event.type === "step") steps.push(event);
    if (event.type === "result") result = event;
  }
  return { rgb: result!.rgb, steps };
}

const deltasIn = (steps: readonly StepEvent[]) =>
  steps.flatMap(({ cells }) => cells).filter(({ action }) => action === "delta").length;

test.skipIf(skip)(
  "masks on a stream of their own change no bit",
  () =>
    withTiny(async ({ device, ...engine }, request) => {
      using maskStream = await openMaskStream(device);
      using maskOps = new Ops(maskStream);
      const serial = await run(engine, request);
      expect(deltasIn(serial.steps)).toBeGreaterThan(10);
      for (let times = 0; times < 3; times++)
        expect((await run({ ...engine, maskOps }, request)).rgb).toEqual(serial.rgb);
    }),
  120_000,
);

test.skipIf(skip)(
  "caches in host memory change no bit, and say what moving them took",
  () =>
    withTiny(async (engine, request) => {
      const onDevice = await run(engine, request);
      // MLP caches run dense where there is no room for them, so attention alone is compared.
      const { prompt, width, height, steps, seed } = request.settings;
      const attention = settleRequest("tiny", engine.family, {
        prompt,
        width,
        height,
        steps,
        seed,
        policy: { ...policy, mlp: null },
      });
      const expected = await run(engine, attention);
      const onHost = await run(engine, {
        ...attention,
        place: (needs) =>
          placeCaches(needs, {
            deviceBytes:
              needs.bytes -
              needs.caches.reduce((sum, { movableBytes }) => sum + movableBytes, 0) +
              4 * needs.caches[0]!.largestMovable,
            hostBytes: 2 ** 30,
          }),
      });
      expect(onHost.rgb).toEqual(expected.rgb);
      expect(onHost.rgb).not.toEqual(onDevice.rgb);
      const moved = onHost.steps.reduce((sum, { transfers }) => sum + (transfers?.bytes ?? 0), 0);
      expect(moved).toBeGreaterThan(0);
    }),
  120_000,
);

test.skipIf(skip)(
  "what a run takes was known before it, and is given back after it",
  () =>
    withTiny(async ({ device, ...engine }, request, counter) => {
      const needs = await counter.needs(request);
      await run(engine, request);
      const idle = device.info().bytesAllocated;
      let most = 0;
      for await (const _ of generate(engine, request)) most = Math.max(most, device.info().bytesAllocated);
      expect(most).toBeLessThanOrEqual(needs.most);
      expect(device.info().bytesAllocated).toBe(idle);
    }),
  120_000,
);
