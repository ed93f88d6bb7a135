import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { DeviceTensor } from "../../ffi/index.ts";
import { columnPolicy } from "../../src/delta/column-policy.ts";
import { exact } from "../../src/delta/policies/exact.ts";
import type { Policy } from "../../src/delta/policy.ts";
import type { Conditioning, Family } from "../../src/models/family.ts";
import { FluxConditioning } from "../../src/models/flux/conditioning.ts";
import { FluxTransformer } from "../../src/models/flux/transformer.ts";
import { hostValues, type Ops, relativeError } from "../../src/nn/index.ts";
import { denoise } from "../../src/pipeline/denoise.ts";
import { layOutTokens } from "../../src/pipeline/token-layout.ts";
import { FlowMatchEuler } from "../../src/samplers/flow-match-euler.ts";
import { gaussianNoise } from "../../src/samplers/noise.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { tinyFlux, withOps } from "../models/with-ops.ts";

const GRID = [1, 16, 16] as const;
const TEXT_TOKENS = 5;
const STEPS = 6;
const SCALE = 3;

const deltas = columnPolicy({
  attention: { select: { kind: "topK", density: 0.3 }, refresh: { from: 1, every: 3 } },
  mlp: { select: { kind: "topK", density: 0.3 }, refresh: { from: 1, every: 3 } },
});

/** The tiny FLUX as a family whose branches are guided as those of undistilled models are: u + scale * (c - u). */
class GuidedFlux implements Disposable {
  readonly ops: Ops;
  readonly transformer: FluxTransformer;
  readonly sampler = new FlowMatchEuler({ _class_name: "FlowMatchEulerDiscreteScheduler", shift: 3 });

  static async load(ops: Ops): Promise<GuidedFlux> {
    return new GuidedFlux(
      ops,
      FluxTransformer.load(ops, await openCheckpoint(join(tinyFlux, "transformer"))),
    );
  }

  private constructor(ops: Ops, transformer: FluxTransformer) {
    this.ops = ops;
    this.transformer = transformer;
  }

  /** One branch a seed of text states. */
  condition(...seeds: number[]): Conditioning {
    const { ops, transformer } = this;
    using owned = new DisposableStack();
    const branches = seeds.map((seed) => {
      using states = new DisposableStack();
      const context = states.use(noise(ops, [1, TEXT_TOKENS, transformer.jointDim], seed));
      const pooled = states.use(noise(ops, [1, transformer.pooledDim], seed + 1));
      const text = { context, pooled, guidance: 1, owner: states.move() };
      return owned.use(new FluxConditioning(ops, transformer, text, layOutTokens(GRID)));
    });
    const all = owned.move();
    return {
      branches: branches.flatMap(({ branches: own }) => own),
      text: branches[0]!.text,
      combine: ([conditional, unconditional], out) =>
        ops.combine(SCALE, conditional!, 1 - SCALE, unconditional!, out),
      [Symbol.dispose]: () => all[Symbol.dispose](),
    };
  }

  async run(conditioning: Conditioning, policy: Policy, watched = false): Promise<Float32Array> {
    const { ops, sampler, transformer } = this;
    const family = {
      sampler,
      modules: ({ latent, text }) => transformer.modules({ textTokens: text, imageTokens: latent }),
      tokenChannels: transformer.inChannels,
    } as Partial<Family> as Family;
    using latents = this.noise();
    const run = { family, conditioning, policy, steps: STEPS, latents, seed: 1, isWatched: watched };
    let last = -1;
    for await (const { step } of denoise(ops, run)) expect(step).toBe(++last);
    return hostValues(ops, latents);
  }

  noise(): DeviceTensor {
    return noise(this.ops, [1, GRID[1] * GRID[2], this.transformer.inChannels], 99);
  }

  [Symbol.dispose](): void {
    this.transformer[Symbol.dispose]();
  }
}

function noise(ops: Ops, shape: readonly number[], seed: number): DeviceTensor {
  const tensor = ops.memory.persistent(shape, "f32");
  ops.stream.write(tensor, gaussianNoise(tensor.elements, seed));
  return tensor;
}

describe("branches", () => {
  test("their velocities are combined at every step", () =>
    withOps(async (ops) => {
      using model = await GuidedFlux.load(ops);
      using both = model.condition(10, 20);
      const guided = await model.run(both, exact);

      // The same by hand: both networks, combined, one Euler step after the other.
      using latents = model.noise();
      using velocity = model.noise();
      using other = model.noise();
      const { sigmas } = model.sampler.schedule(STEPS, 1);
      const { denseModules } = await import("../../src/delta/modules.ts");
      for (let step = 0; step < STEPS; step++) {
        const at = { sigma: sigmas[step]!, timestep: sigmas[step]! * 1000 };
        both.branches[0]!.forward(latents, at, denseModules(ops), velocity);
        both.branches[1]!.forward(latents, at, denseModules(ops), other);
        ops.combine(SCALE, velocity, 1 - SCALE, other, velocity);
        ops.combine(1, latents, sigmas[step + 1]! - sigmas[step]!, velocity, latents);
      }
      expect(relativeError(guided, hostValues(ops, latents))).toBeLessThan(1e-6);
      using conditional = model.condition(10);
      expect(relativeError(await model.run(conditional, exact), guided)).toBeGreaterThan(1e-3);
    }));

  test("each has a delta state of its own", () =>
    withOps(async (ops) => {
      using model = await GuidedFlux.load(ops);
      using one = model.condition(10);
      using twice = model.condition(10, 10);
      const alone = await model.run(one, deltas);
      expect(alone).not.toEqual(await model.run(one, exact));
      // Guided by itself a branch stays what it is: 3 c - 2 c. Shared caches or masks would make it drift.
      expect(relativeError(await model.run(twice, deltas), alone)).toBeLessThan(1e-5);
      using both = model.condition(10, 20);
      using swapped = model.condition(20, 10);
      expect(await model.run(both, deltas)).not.toEqual(await model.run(swapped, deltas));
    }));

  test("steps that are skipped carry each branch on", () =>
    withOps(async (ops) => {
      using model = await GuidedFlux.load(ops);
      using both = model.condition(10, 20);
      const skipping = columnPolicy({
        attention: null,
        mlp: null,
        skip: { from: 2, until: 1, every: 2, forecast: 1 },
      });
      const skipped = await model.run(both, skipping);
      const full = await model.run(both, exact);
      const error = relativeError(skipped, full);
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(0.2);
    }));
});

test("looking ahead changes nothing", () =>
  withOps(async (ops) => {
    using model = await GuidedFlux.load(ops);
    using both = model.condition(10, 20);
    expect(await model.run(both, deltas, true)).toEqual(await model.run(both, deltas, false));
  }));
