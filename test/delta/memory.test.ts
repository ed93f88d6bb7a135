import { describe, expect, test } from "bun:test";
import { Device, RemoteStream } from "../../ffi/index.ts";
import { AttentionCache } from "../../src/delta/attention-cache.ts";
import type { AttentionCacheLayout } from "../../src/delta/cache-layout.ts";
import type { ModuleDescription } from "../../src/delta/cells.ts";
import { columnPolicy, type ColumnPolicySettings } from "../../src/delta/column-policy.ts";
import { MaskCounts } from "../../src/delta/counts.ts";
import { Mask, type MaskLayout } from "../../src/delta/mask.ts";
import { InlineMaskWork } from "../../src/delta/mask-work.ts";
import { type CacheNeeds, deltaNeeds, type DeltaNeeds } from "../../src/delta/needs.ts";
import { placeCaches, placeOnDevice } from "../../src/delta/placement.ts";
import type { Plan } from "../../src/delta/policy.ts";
import { Ops } from "../../src/nn/index.ts";
import { gaussianNoise } from "../../src/samplers/noise.ts";
import { relativeError, withOps } from "../models/with-ops.ts";
import { deltasOf, freeDeltas, heldBy, planOf, runBranches, runSteps, shapeFor } from "./support/plans.ts";
import { HIDDEN, inputsOf, SmallNetwork } from "./support/small-network.ts";

const STEPS = 4;

describe("needs are what the run holds, to the byte", () => {
  const cases: [string, ColumnPolicySettings][] = [
    ["attention", deltasOf({ attention: { forecast: 0 } })],
    ["attention with forecasts", deltasOf({ attention: { forecast: 0.5 } })],
    ["attention, log-sum-exp", deltasOf({ attention: { cache: { rule: "lse" } } })],
    ["attention, nothing remembered", deltasOf({ attention: { cache: { rule: "none" } } })],
    [
      "attention, two ranges of heads",
      deltasOf({ attention: { heads: [{ from: 1, to: 2, cache: { rule: "lse" } }] } }),
    ],
    [
      "attention, random and mass",
      deltasOf({ attention: { randomDensity: 0.1, select: { kind: "mass", mass: 0.5 } } }),
    ],
    ["MLPs", deltasOf({ mlp: {} })],
    ["MLPs, masks ahead", deltasOf({ mlp: { choose: "ahead", randomDensity: 0.1 } })],
    ["both, first layer dense", { ...deltasOf({ attention: {}, mlp: {} }), denseLayers: 1 }],
  ];
  test.each(cases)("%s", (_, settings) =>
    withOps((ops) => {
      using network = new SmallNetwork(ops);
      const shape = shapeFor(network, STEPS, { textTokens: 40 });
      const needs = deltaNeeds(
        columnPolicy(settings).plan(shape),
        shape,
        ops.stream.device.info(),
        freeDeltas,
      );
      expect(heldBy(network, settings, inputsOf(network, STEPS), { textTokens: 40 })).toBe(needs.bytes);
      expect(needs.bytes).toBeGreaterThan(0);
      expect(needs.caches.reduce((all, { bytes }) => all + bytes, needs.fixedBytes)).toBe(needs.bytes);
      expect(placeOnDevice(needs).deviceBytes).toBe(needs.bytes);
    }),
  );

  test("reuse of every kind", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops);
      const plan: Plan = planOf({ mayReuse: () => true, blockRanges: [{ from: 0, to: 2 }] });
      const shape = shapeFor(network, STEPS);
      const needs = deltaNeeds(plan, shape, ops.stream.device.info());
      expect(heldBy(network, plan, inputsOf(network, STEPS))).toBe(needs.bytes);
      expect(needs.parts.residuals).toBe(network.tokens * 128 * 4);
      expect(needs.parts.keptOutputs).toBe(6 * network.tokens * 128 * 4);
    }));

  test("caches placed elsewhere", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 4 });
      const settings = deltasOf({ attention: {}, mlp: {} });
      const shape = shapeFor(network, STEPS);
      const needs = deltaNeeds(
        columnPolicy(settings).plan(shape),
        shape,
        ops.stream.device.info(),
        freeDeltas,
      );
      const mlps = sum(needs, "mlp");
      const placement = placeCaches(needs, { deviceBytes: needs.bytes - mlps - 300_000, hostBytes: 1e9 });
      expect(placement.hostBytes).toBeGreaterThan(0);
      const hostBefore = ops.stream.device.info().hostBytesAllocated;
      const held = heldBy(network, settings, inputsOf(network, STEPS), { placement }, () =>
        expect(ops.stream.device.info().hostBytesAllocated - hostBefore).toBe(placement.hostBytes),
      );
      expect(held).toBe(placement.deviceBytes);
    }));
});

function sum(needs: DeltaNeeds, kind: ModuleDescription["kind"]): number {
  return needs.caches.reduce((all, { module, bytes }) => all + (module.kind === kind ? bytes : 0), 0);
}

describe("placement", () => {
  const layers = 10;
  const caches = Array.from({ length: layers }, (_, layer): CacheNeeds[] => {
    const attention = { layer, id: "attention", kind: "attention" } as ModuleDescription;
    const mlp = { layer, id: "mlp", kind: "mlp" } as ModuleDescription;
    return [
      { branch: 0, module: attention, bytes: 100, movableBytes: 80, movableTensors: 1, largestMovable: 80 },
      { branch: 0, module: mlp, bytes: 300, movableBytes: 0, movableTensors: 0, largestMovable: 0 },
    ];
  }).flat();
  const needs = { caches, fixedBytes: 7, bytes: 4007 } as unknown as DeltaNeeds;
  const places = (deviceBytes: number, hostBytes = 1e6) => {
    const placement = placeCaches(needs, { deviceBytes, hostBytes });
    const row = (id: string) =>
      Array.from({ length: layers }, (_, layer) => placement.placeOf(0, { layer, id })[0]).join("");
    expect(placement.fits).toBe(placement.deviceBytes <= deviceBytes);
    return { placement, attention: row("attention"), mlp: row("mlp") };
  };

  test("everything on the device where it fits", () => {
    expect(places(4007)).toMatchObject({ attention: "d".repeat(10), mlp: "d".repeat(10) });
  });

  test("MLP caches go first, the last layers' before the others", () => {
    expect(places(4006)).toMatchObject({ attention: "d".repeat(10), mlp: "dddddddddn" });
    expect(places(1007)).toMatchObject({ attention: "d".repeat(10), mlp: "n".repeat(10) });
  });

  test("attention caches go to the host, as few as need be and spread over the layers", () => {
    // Two slots of 80 bytes cost what two moved caches spare.
    const { attention, placement } = places(1000);
    expect(attention).toBe("dhdddhddhd");
    expect(placement).toMatchObject({
      hostBytes: 240,
      slots: 2,
      slotBytes: 80,
      deviceBytes: 927,
      fits: true,
    });
    expect(places(7 + 200 + 160).attention).toBe("h".repeat(10));
  });

  test("where the host is full too, the last layers have none", () => {
    const { attention, placement } = places(500, 320);
    expect(attention.replaceAll("n", "").length).toBeLessThan(10);
    expect(attention).toMatch(/^[dh]+n+$/);
    expect(placement.hostBytes).toBeLessThanOrEqual(320);
    expect(placement.fits).toBe(true);
  });

  test("what no placement makes fit is said", () => {
    expect(places(6).placement.fits).toBe(false);
  });
});

describe("caches in host memory", () => {
  const settings = deltasOf({ attention: { forecast: 0.5 } }, { from: 0, every: 3 });
  test.each([
    ["all", 0],
    ["some", 500_000],
  ])("%s: the same bytes as on the device, moved and counted", (_, spared) =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 4 });
      const inputs = [inputsOf(network, 9, { seed: 3 }), inputsOf(network, 9, { seed: 30 })];
      const shape = shapeFor(network, 9, { branches: 2 });
      const needs = deltaNeeds(
        columnPolicy(settings).plan(shape),
        shape,
        ops.stream.device.info(),
        freeDeltas,
      );
      const least = needs.bytes - needs.caches.reduce((all, { movableBytes }) => all + movableBytes, 0);
      const placement = placeCaches(needs, {
        deviceBytes: least + 4 * needs.caches[0]!.largestMovable + spared,
        hostBytes: 1e9,
      });
      expect(placement.fits).toBe(true);
      const onHost = needs.caches.filter(
        ({ branch, module }) => placement.placeOf(branch, module) === "host",
      );
      expect(onHost.length).toBeGreaterThan(0);
      expect(onHost.length < needs.caches.length).toBe(spared > 0);
      const expected = runBranches(network, inputs, settings);
      const { outputs, reports } = runBranches(network, inputs, settings, { placement });
      expect(outputs).toEqual(expected.outputs);
      expect(expected.reports[1]!.transfers).toBeUndefined();
      const one = needs.caches[0]!.largestMovable;
      for (const { transfers } of reports) {
        expect(transfers!.bytes).toBeGreaterThanOrEqual(onHost.length * one - 4 * one);
        expect(transfers!.bytes % one).toBe(0);
        expect(transfers!.secondsWaited).toBeGreaterThanOrEqual(0);
      }
    }),
  );

  test("beside a mask stream, which the caches on the device still use", async () => {
    using device = await Device.open({ backend: "cpu", threads: 1 });
    using stream = device.createStream();
    using ops = new Ops(stream);
    using maskStream = await RemoteStream.open(
      device,
      new URL("../../workers/mask-worker.ts", import.meta.url),
    );
    using maskOps = new Ops(maskStream);
    using network = new SmallNetwork(ops, { layers: 4 });
    const inputs = inputsOf(network, 9);
    const shape = shapeFor(network, 9);
    const needs = deltaNeeds(columnPolicy(settings).plan(shape), shape, device.info(), freeDeltas);
    const placement = placeCaches(needs, { deviceBytes: needs.bytes - 1, hostBytes: 1e9 });
    expect(placement.hostBytes).toBeGreaterThan(0);
    const expected = runSteps(network, inputs, settings);
    expect(runSteps(network, inputs, settings, { placement, maskOps }).outputs).toEqual(expected.outputs);
  });

  test("a module without a place for its cache runs dense", () =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 1 });
      const shape = shapeFor(network, 3);
      const plan = columnPolicy(settings).plan(shape);
      const needs = deltaNeeds(plan, shape, ops.stream.device.info(), freeDeltas);
      const placement = placeCaches(needs, { deviceBytes: 0, hostBytes: 0 });
      const inputs = inputsOf(network, 3);
      const { outputs, reports } = runSteps(network, inputs, settings, { placement });
      expect(outputs[1]).toEqual(network.forward(inputs[1]!));
      expect(new Set(reports.flatMap(({ cells }) => cells.map(({ action }) => action)))).toEqual(
        new Set(["dense"]),
      );
    }));
});

describe("masks of more columns than 16 bits name", () => {
  const keys = 70_000;
  const shape = { batch: 1, lists: 2, rows: 64, group: 32, columns: keys };
  const layout: MaskLayout = { shape, capacity: 700, hasAlways: false, hasDenseGroups: false };

  test("are kept in about a byte a column, and come out as they were chosen", () =>
    withOps((ops) => {
      using counts = new MaskCounts(ops, 4);
      using mask = new Mask(ops, counts, layout);
      using scores = ops.memory.persistent([1, 2, 2, keys], "f32");
      ops.stream.write(scores, gaussianNoise(4 * keys, 9));
      const select = { kind: "topK", density: 0.01 } as const;
      const values = (lists: { indices: { elements: number } }) =>
        ops.stream.read((lists as ReturnType<Mask["lists"]>).indices, new Int32Array(4 * 700));
      using chosen = mask.select(ops, scores, select);
      const expected = values(chosen);
      using lists = mask.lists(ops);
      expect(values(lists)).toEqual(expected);
      expect(expected.some((key) => key > 65_536)).toBe(true);
      expect(Mask.bytes(layout)).toBe(4 * (700 + Math.floor((keys - 700) / 255)));
      const frequency = mask.columnFrequency(ops.stream.read(mask.countSlot.tensor, new Int32Array(4)));
      expect(frequency.reduce((all, share) => all + share, 0)).toBeCloseTo(700, 1);
    }));

  test("serve deltas", () =>
    withOps((ops) => {
      const attention: AttentionCacheLayout = {
        from: 0,
        to: 2,
        mask: layout,
        headDim: 64,
        rule: "lse",
        keepsEarlier: false,
        activationType: "f32",
      };
      const tensor = (rows: number, seed: number) => {
        const made = ops.memory.persistent([1, 2, rows, 64], "f32");
        ops.stream.write(made, gaussianNoise(made.elements, seed));
        return made;
      };
      using q = tensor(64, 1);
      using k = tensor(keys, 2);
      using v = tensor(keys, 3);
      using out = tensor(64, 4);
      using counts = new MaskCounts(ops, 4);
      using cache = new AttentionCache(ops, new InlineMaskWork(ops), counts, attention, {});
      const settings = {
        select: { kind: "topK", density: 0.01 },
        cache: { rule: "lse" },
        forecast: 0,
      } as const;
      cache.refresh({ q, k, v }, 0.125, 1, out, settings);
      const dense = read(ops, out);
      ops.fill(out, 0);
      cache.delta({ q, k, v }, 0.125, 0.9, out, settings);
      // Nothing has moved: the chosen keys merged with the rest are dense attention.
      expect(relativeError(read(ops, out), dense)).toBeLessThan(1e-5);
    }));
});

function read(ops: Ops, tensor: Parameters<Ops["fill"]>[0]): Float32Array {
  return ops.stream.read(tensor, new Float32Array(tensor.elements));
}

test("an MLP's fc2 is held once, for dense and for deltas", () =>
  withOps((ops) => {
    using network = new SmallNetwork(ops, { layers: 1 });
    const before = network.parameterBytes;
    runSteps(network, inputsOf(network, 2), deltasOf({ mlp: {} }));
    // Deltas add the norms of fc2's columns.
    expect(network.parameterBytes - before).toBe(HIDDEN * 4);
  }));

test("HunyuanVideo's masks fit in 13 GB, and its needs are told by part", () => {
  const [heads, tokens] = [24, 119_056];
  const modules = Array.from({ length: 60 }, (_, layer): ModuleDescription[] => [
    { layer, id: "attention", kind: "attention", heads, queries: tokens, keys: tokens, headDim: 128 },
    { layer, id: "mlp", kind: "mlp", tokens, width: 3072, hidden: 12_288, outputs: 3072 },
  ]).flat();
  const shape = { steps: 3, branches: 1, modules, textTokens: 256, textPosition: "last" } as const;
  const plan = columnPolicy({
    attention: {
      select: { kind: "topK", density: 0.07 },
      textKeys: "scored",
      forecast: 0,
      refresh: { from: 1, every: 9 },
    },
    mlp: { select: { kind: "topK", density: 0.3 }, refresh: { from: 1, every: 9 } },
  }).plan(shape);
  const { parts, caches } = deltaNeeds(plan, shape, { backend: "cuda", queryGroup: 128, tokenGroup: 128 });
  const masks = caches.filter(({ module }) => module.kind === "attention");
  expect(masks).toHaveLength(60);
  expect(parts.masks).toBeLessThan(13e9);
  expect(parts.attentionOutputs).toBe(60 * tokens * 3072 * 2);
  // 2.9 GB of activations a layer: these caches do not fit a card.
  expect(parts.mlpActivations / 60).toBeGreaterThan(2.9e9);
});
