import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ColumnPolicySettings } from "../../src/delta/column-policy.ts";
import type { GenerateEvent, ResultEvent, StepEvent, TraceEvent } from "../../src/pipeline/events.ts";
import { hiddenShare } from "../../src/pipeline/hidden-share.ts";
import { open, type Tamias } from "../../src/pipeline/open.ts";
import type { GenerateOptions } from "../../src/pipeline/options.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const request = { prompt: "a red fox", width: 256, height: 256, steps: 9, seed: 7 };

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let serial: Tamias;
let overlap: Tamias;
beforeAll(async () => {
  folder = await temporaryFolder();
  const options = { model: await makeTinyModel(folder.path), device: "cpu", threads: 1 } as const;
  serial = await open({ ...options, pipeline: "serial" });
  overlap = await open({ ...options, pipeline: "overlap" });
});
afterAll(async () => {
  await serial.close();
  await overlap.close();
  await folder[Symbol.asyncDispose]();
});

const run = (tamias: Tamias, options: Partial<GenerateOptions>): Promise<GenerateEvent[]> =>
  Array.fromAsync(tamias.generate({ ...request, ...options }));
const pictureOf = (events: readonly GenerateEvent[]) => (events.at(-1) as ResultEvent).rgb;

const topK = { kind: "topK", density: 0.3 } as const;
const attention = { select: topK, refresh: { from: 1, every: 3 } };
const mlp = { select: topK, refresh: { from: 1, every: 4 } };
const cases: Record<string, string | ColumnPolicySettings> = {
  balanced: "balanced",
  chipmunk: "chipmunk",
  fast: "fast",
  "masks chosen ahead": { attention, mlp: { ...mlp, choose: "ahead" } },
  "random columns": {
    attention: { ...attention, randomDensity: 0.1 },
    mlp: { ...mlp, randomDensity: 0.1, choose: "ahead" },
  },
  "log-sum-exp, mass": {
    attention: {
      ...attention,
      cache: { rule: "lse" },
      select: { kind: "mass", mass: 0.8, maxDensity: 0.5 },
    },
    mlp: { ...mlp, select: { kind: "threshold", z: 0.5, maxDensity: 0.5 } },
  },
  "no cache, text scored": {
    attention: { ...attention, cache: { rule: "none" }, textKeys: "scored" },
    mlp: null,
  },
};

describe("masks beside the denoising change no bit", () => {
  test.each(Object.entries(cases))("%s", async (_, policy) => {
    const expected = await run(serial, { policy });
    const events = await run(overlap, { policy });
    expect(pictureOf(events)).toEqual(pictureOf(expected));
    const densities = (all: readonly GenerateEvent[]) =>
      all.flatMap((event) => (event.type === "step" ? [event.density] : []));
    expect(densities(events)).toEqual(densities(expected));
    expect(densities(events).some((density) => density > 0 && density < 0.9)).toBe(true);
  });
});

test("masks chosen ahead are other masks", async () => {
  const ahead = await run(serial, { policy: { attention: null, mlp: { ...mlp, choose: "ahead" } } });
  const fresh = await run(serial, { policy: { attention: null, mlp } });
  expect(pictureOf(ahead)).not.toEqual(pictureOf(fresh));
});

test("a run that is stopped leaves the next one as it would have been", async () => {
  const expected = pictureOf(await run(serial, { policy: "balanced" }));
  for (const stopAt of [2, 4]) {
    for await (const event of overlap.generate({ ...request, policy: "balanced", trace: true }))
      if (event.type === "step" && event.step === stopAt) break;
    expect(pictureOf(await run(overlap, { policy: "balanced" }))).toEqual(expected);
  }
});

test("memory stays where it was", async () => {
  await run(overlap, { policy: "balanced" });
  const before = overlap.deviceBytes;
  for (let time = 0; time < 5; time++) await run(overlap, { policy: "balanced", seed: time });
  expect(overlap.deviceBytes).toBe(before);
});

test("a trace tells what ran on which stream, and changes nothing", async () => {
  const events = await run(overlap, { policy: "balanced", trace: true });
  expect(pictureOf(events)).toEqual(pictureOf(await run(serial, { policy: "balanced" })));
  const trace = events.find((event): event is TraceEvent => event.type === "trace")!;
  const names = (spans: TraceEvent["masks"]) => new Set(spans.map(({ name }) => name));
  expect(names(trace.masks)).toContain("tamias_select_top_k");
  expect(names(trace.masks)).not.toContain("tamias_mlp_delta_fc2");
  expect(names(trace.compute)).toContain("tamias_mlp_delta_fc2");
  for (const spans of [trace.compute, trace.masks])
    for (const [at, { start, seconds }] of spans.entries()) {
      expect(seconds).toBeGreaterThanOrEqual(0);
      const next = spans[at + 1]?.start ?? Number.POSITIVE_INFINITY;
      expect(start + seconds).toBeLessThanOrEqual(next + 1e-9);
    }
  const late = events.filter((event): event is StepEvent => event.type === "step");
  expect(late.every(({ lateMasks = -1 }) => lateMasks >= 0)).toBe(true);
  const alone = await run(serial, { policy: "balanced", trace: true });
  expect((alone.find((event) => event.type === "trace") as TraceEvent).masks).toEqual([]);
});

test("an order that does not exist is refused", async () => {
  await expect(open({ model: "acorn-image", pipeline: "sideways" as "serial" })).rejects.toMatchObject({
    code: "bad_input",
  });
});

test("the hidden share counts the time that both streams work", () => {
  const at = (...spans: [number, number][]) => spans.map(([start, seconds]) => ({ start, seconds }));
  expect(hiddenShare([], at([0, 1]))).toBe(1);
  expect(hiddenShare(at([0, 2]), at([1, 5]))).toBe(0.5);
  expect(hiddenShare(at([0, 1], [2, 1]), at([0, 0.5], [0.5, 0.25], [2.5, 3]))).toBeCloseTo(0.625);
  expect(hiddenShare(at([5, 1]), at([0, 1]))).toBe(0);
});
