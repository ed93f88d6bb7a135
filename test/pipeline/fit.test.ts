import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Device, type TamiasError } from "../../ffi/index.ts";
import { psnr } from "../../src/media/metrics.ts";
import type { ResultEvent, StepEvent } from "../../src/pipeline/events.ts";
import { fit, type Room } from "../../src/pipeline/fit.ts";
import { generate } from "../../src/pipeline/generate.ts";
import { findModel } from "../../src/pipeline/models.ts";
import { RunCounter } from "../../src/pipeline/needs.ts";
import type { GenerateOptions } from "../../src/pipeline/options.ts";
import { type Request, settleRequest } from "../../src/pipeline/request.ts";
import type { Family } from "../../src/models/family.ts";
import { Ops } from "../../src/nn/index.ts";

const MEBIBYTE = 2 ** 20;
/** Workspaces of small ops are counted as so much. */
const WORKSPACE = 2 * MEBIBYTE;

let opened: DisposableStack;
let device: Device;
let ops: Ops;
let family: Family;
let counter: RunCounter;
beforeAll(async () => {
  const { kind, folder } = await findModel("acorn-image");
  const files = await kind.open(folder);
  opened = new DisposableStack();
  device = opened.use(await Device.open({ backend: "cpu", threads: 2 }));
  ops = opened.use(new Ops(opened.use(device.createStream())));
  counter = opened.use(await RunCounter.open(device, files));
  family = opened.use(await files.load(ops));
});
afterAll(() => opened.dispose());

function request(options: Partial<GenerateOptions>): Request {
  return settleRequest("acorn-image", family, {
    prompt: "3d render of a fox",
    seed: 7,
    steps: 4,
    ...options,
  });
}

function roomFor(bytes: number): Room {
  return { device: bytes, host: 0 };
}

interface Ran {
  readonly denoising: number;
  readonly decoding: number;
  readonly steps: StepEvent[];
  readonly result: ResultEvent;
}

/** Runs it, noting what the device holds at the end of each phase, before that is given back. */
async function run(asked: Request): Promise<Ran> {
  let denoising = 0;
  const steps: StepEvent[] = [];
  for await (const event of generate({ family, ops }, asked)) {
    const { bytesAllocated } = device.info();
    if (event.type === "step") {
      denoising = Math.max(denoising, bytesAllocated);
      steps.push(event);
    }
    if (event.type === "result") return { denoising, decoding: bytesAllocated, steps, result: event };
  }
  throw new Error("no result");
}

describe("what a run needs is known before it starts", () => {
  test("weights", () => {
    ops.memory.trim();
    expect(counter.weights).toBe(device.info().bytesAllocated);
  });

  test.each([
    [96, 64, "exact"],
    [256, 256, "exact"],
    [256, 256, "balanced"],
    [320, 192, "chipmunk"],
  ])("%d x %d, %s", async (width, height, policy) => {
    const asked = request({ width, height, policy });
    const { weights, ...needs } = await counter.needs(asked);
    const took = await run(asked);
    // Decoding begins where denoising ends.
    const phases = { denoising: took.denoising, decoding: Math.max(took.denoising, took.decoding) };
    for (const phase of ["denoising", "decoding"] as const) {
      const counted = needs[phase] - weights;
      const real = phases[phase] - weights;
      // Never too little; too much only by workspaces, which the libraries do not tell beforehand.
      expect(real).toBeLessThanOrEqual(counted);
      expect(real).toBeGreaterThan(0.75 * (counted - WORKSPACE));
    }
    expect(needs.most).toBe(Math.max(needs.text, needs.denoising, needs.decoding));
  });

  test("previews are decoded while caches are held", async () => {
    const plain = await counter.needs(request({ policy: "balanced" }));
    const watched = await counter.needs(request({ policy: "balanced", previewEvery: 1 }));
    expect(watched.denoising).toBeGreaterThan(plain.denoising);
  });
});

describe("a run keeps to its room", () => {
  test("one that fits goes as it is", async () => {
    const asked = request({});
    const { most } = await counter.needs(asked);
    expect(await fit(counter, asked, roomFor(most))).toBe(asked);
  });

  test("decoding goes in bands where the whole does not fit: the same picture, in less memory", async () => {
    const asked = request({ width: 448, height: 448, policy: "exact", steps: 1 });
    const needs = await counter.needs(asked);
    expect(needs.decoding).toBeGreaterThan(needs.denoising);
    const room = Math.round(0.85 * needs.decoding);
    expect(room).toBeGreaterThan(needs.denoising);
    const fitted = await fit(counter, asked, roomFor(room));
    expect(fitted.room).toBe(room);
    const whole = await run(asked);
    const within = await run(fitted);
    expect(within.decoding).toBeLessThanOrEqual(room);
    expect(whole.decoding).toBeGreaterThan(room);
    expect(psnr(within.result, whole.result)).toBeGreaterThan(60);
  });

  test("what does not fit is refused by name, before any work, with what would", async () => {
    const asked = request({ width: 1024, height: 512, policy: "balanced" });
    const { most } = await counter.needs(request({ width: 512, height: 256, policy: "balanced" }));
    const error = await fit(counter, asked, roomFor(most)).catch((thrown: unknown) => thrown);
    const { code, message, hint = "" } = error as TamiasError;
    expect(code).toBe("does_not_fit");
    expect(message).toMatch(/^1024 x 512 with the policy "balanced" needs \d+ MB .* has \d+ MB\.$/);
    const [, width = "", height = ""] = /^The largest size that fits is (\d+) x (\d+)/.exec(hint) ?? [];
    const smaller = { width: Number(width), height: Number(height) };
    expect(smaller.width).toBeGreaterThanOrEqual(512);
    expect(Math.abs(smaller.width - 2 * smaller.height)).toBeLessThanOrEqual(8);
    const fitted = await fit(counter, request({ ...smaller, policy: "balanced" }), roomFor(most));
    expect((await run(fitted)).denoising).toBeLessThanOrEqual(most);
    await expect(
      fit(counter, request({ width: smaller.width + 16, height: smaller.height + 8 }), roomFor(most)),
    ).rejects.toMatchObject({ code: "does_not_fit" });
  });

  test("where nothing fits, it says so", async () => {
    await expect(fit(counter, request({}), roomFor(counter.weights))).rejects.toMatchObject({
      code: "does_not_fit",
      hint: expect.stringContaining("No size fits"),
    });
  });

  test("what deltas keep is left out where there is no room for it, and the notes say so", async () => {
    const asked = request({ policy: "chipmunk", steps: 3 });
    const without = await counter.needs(request({ policy: "exact", steps: 3 }));
    const room = roomFor(without.most + 12 * MEBIBYTE);
    const fitted = await fit(counter, asked, room);
    expect(fitted.notes).toEqual([
      expect.stringMatching(/^Memory is short: .* modules run dense instead\.$/),
    ]);
    const { denoising, decoding, steps } = await run(fitted);
    expect(Math.max(denoising, decoding)).toBeLessThanOrEqual(room.device);
    const actions = (all: StepEvent[]) =>
      new Set(all.flatMap(({ cells }) => cells.map(({ action }) => action)));
    expect(actions(steps)).toContain("delta");
    const whole = await run(asked);
    const dense = (all: StepEvent[]) =>
      all.flatMap(({ cells }) => cells).filter(({ action }) => action === "dense").length;
    expect(dense(steps)).toBeGreaterThan(dense(whole.steps));
  });

  test("caches go to host memory before they are left out", async () => {
    const keys = { kind: "topK", density: 0.2 } as const;
    const policy = { attention: { select: keys, refresh: { from: 0, every: 3 } }, mlp: null };
    const asked = request({ policy, steps: 3 });
    const needs = await counter.needs(asked);
    const room = { device: needs.denoising - 16 * MEBIBYTE, host: 2 ** 30 };
    const fitted = await fit(counter, asked, room);
    expect(fitted.notes).toEqual([expect.stringMatching(/and \d+ MB in host memory\.$/)]);
    const within = await run(fitted);
    expect(within.denoising).toBeLessThanOrEqual(room.device);
    expect(within.steps.at(-1)!.transfers!.bytes).toBeGreaterThan(0);
    // Where a cache lies changes no bit.
    expect(within.result.rgb).toEqual((await run(asked)).result.rgb);
  });
});
