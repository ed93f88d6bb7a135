import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { psnr } from "../../src/media/metrics.ts";
import type { GenerateEvent, ResultEvent, StepEvent } from "../../src/pipeline/events.ts";
import { open, type Tamias } from "../../src/pipeline/open.ts";
import type { GenerateOptions } from "../../src/pipeline/options.ts";

const small = {
  prompt: "3d render of a fox on a sky blue background",
  width: 128,
  height: 96,
  steps: 4,
  seed: 7,
};

let tamias: Tamias;
beforeAll(async () => {
  tamias = await open({ model: "acorn-image", device: "cpu", threads: 2 });
});
afterAll(() => tamias.close());

async function events(options: GenerateOptions): Promise<GenerateEvent[]> {
  return Array.fromAsync(tamias.generate(options));
}

async function result(options: GenerateOptions): Promise<ResultEvent> {
  const last = (await events(options)).at(-1);
  if (last?.type !== "result") throw new Error("no result");
  return last;
}

describe("generate", () => {
  test("tells start, steps, previews and the result, in order", async () => {
    const seen = await events({ ...small, policy: "exact", previewEvery: 2 });
    expect(seen.map(({ type }) => type)).toEqual([
      "start",
      "step",
      "step",
      "preview",
      "step",
      "step",
      "result",
    ]);
    const picture = seen.at(-1) as ResultEvent;
    expect([picture.width, picture.height, picture.rgb.length]).toEqual([128, 96, 128 * 96 * 3]);
    expect(new Set(picture.rgb).size).toBeGreaterThan(20);
    expect(
      seen.filter((event): event is StepEvent => event.type === "step").every(({ density }) => density === 1),
    ).toBe(true);
  });

  test("previews come after the steps that are named, never after the last", async () => {
    const seen = await events({ ...small, policy: "exact", previewSteps: [0, 3, 40] });
    const previews = seen.flatMap((event) => (event.type === "preview" ? [event.step] : []));
    expect(previews).toEqual([0]);
  });

  test("the same seed gives the same bytes, another seed others", async () => {
    const first = await result({ ...small, policy: "balanced" });
    expect((await result({ ...small, policy: "balanced" })).rgb).toEqual(first.rgb);
    expect((await result({ ...small, policy: "balanced", seed: 8 })).rgb).not.toEqual(first.rgb);
  });

  test("previews and recorded columns change nothing", async () => {
    const plain = await result({ ...small, policy: "fast" });
    const watched = await result({ ...small, policy: "fast", previewEvery: 1, recordColumns: true });
    expect(watched.rgb).toEqual(plain.rgb);
  });

  test("with every column chosen, deltas are exact to rounding", async () => {
    const exact = await result({ ...small, policy: "exact" });
    const everything = { kind: "topK", density: 1 } as const;
    for (const cache of [
      { rule: "control", beta: 1 },
      { rule: "control", beta: 0.8 },
      { rule: "lse" },
    ] as const) {
      const all = await result({
        ...small,
        policy: {
          attention: { select: everything, cache, refresh: { from: 0, every: 2 } },
          mlp: { select: everything, refresh: { from: 0, every: 2 } },
        },
      });
      expect(psnr(all, exact)).toBeGreaterThan(60);
    }
  });

  test("a delta policy computes less and says how much", async () => {
    const options = { ...small, width: 256, height: 256, steps: 5, policy: "balanced", recordColumns: true };
    const steps = (await events(options)).filter((event): event is StepEvent => event.type === "step");
    const deltas = steps.filter(({ cells }) => cells.some(({ action }) => action === "delta"));
    expect(deltas.length).toBeGreaterThan(0);
    for (const { density, cells } of deltas) {
      expect(density).toBeGreaterThan(0);
      expect(density).toBeLessThan(0.8);
      const chosen = cells.find(({ action, module }) => action === "delta" && module === "attention");
      if (chosen) expect(chosen.columnFrequency).toHaveLength(1024 + 128);
    }
  });

  test("a signal stops within one step, and the engine goes on", async () => {
    const controller = new AbortController();
    let steps = 0;
    const run = async () => {
      for await (const event of tamias.generate({
        ...small,
        steps: 50,
        policy: "exact",
        signal: controller.signal,
      }))
        if (event.type === "step" && ++steps === 2) controller.abort();
    };
    await expect(run()).rejects.toMatchObject({ code: "aborted" });
    expect(steps).toBe(2);
    expect((await result(small)).width).toBe(128);
  });

  test("a timer may stop it too: steps do not block the event loop", async () => {
    const run = async () => {
      for await (const _ of tamias.generate({
        ...small,
        width: 256,
        height: 256,
        steps: 200,
        signal: AbortSignal.timeout(300),
      }));
    };
    const began = performance.now();
    await expect(run()).rejects.toMatchObject({ code: "aborted" });
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  test("requests made at once run one after another", async () => {
    const [first, second] = await Promise.all([result(small), result(small)]);
    expect(second.rgb).toEqual(first.rgb);
  });

  test("leaving the loop early frees the engine", async () => {
    for await (const event of tamias.generate({ ...small, steps: 50 })) if (event.type === "step") break;
    expect((await result(small)).height).toBe(96);
  });
});

describe("bad options get one clear sentence", () => {
  const bad: [string, Partial<Record<keyof GenerateOptions, unknown>>, RegExp][] = [
    ["an empty prompt", { prompt: "  " }, /prompt/],
    ["a prompt of 10,000 characters", { prompt: "fox ".repeat(2500) }, /prompt.*10000/],
    ["a width that is no multiple", { width: 100 }, /width: 100 is not a multiple of 8/],
    ["no steps", { steps: 0 }, /steps/],
    ["half a step", { steps: 2.5 }, /steps/],
    ["a NaN guidance", { guidance: Number.NaN }, /guidance/],
    ["a negative seed", { seed: -1 }, /seed/],
    ["a huge picture", { width: 100_000 }, /width/],
    ["an unknown policy", { policy: "quick" }, /no policy "quick"/],
    ["an option that does not exist", { stepps: 3 } as object, /stepps/],
  ];
  test.each(bad)("%s", async (_what, change, message) => {
    await expect(events({ ...small, ...change } as GenerateOptions)).rejects.toThrow(message);
  });
});

test("twenty pictures leave memory where it was", async () => {
  const run = () => result({ ...small, width: 64, height: 64, steps: 2 });
  for (let warm = 0; warm < 5; warm++) await run();
  Bun.gc(true);
  const device = tamias.deviceBytes;
  const resident = process.memoryUsage.rss();
  for (let times = 0; times < 20; times++) await run();
  Bun.gc(true);
  expect(tamias.deviceBytes).toBe(device);
  expect(process.memoryUsage.rss() - resident).toBeLessThan(32 * 2 ** 20);
});
