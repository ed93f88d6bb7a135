import { expect, test } from "bun:test";
import { join } from "node:path";
import { FlowMatchEuler } from "../../src/samplers/flow-match-euler.ts";
import { readTensorFloat32 } from "../../src/weights/read-tensor.ts";
import { readSafetensors } from "../../src/weights/safetensors.ts";
import { tinyFlux } from "../models/with-ops.ts";

const plain = { _class_name: "FlowMatchEulerDiscreteScheduler" };

test("sigmas and timesteps are the reference's", async () => {
  const { tensors } = await readSafetensors(join(tinyFlux, "golden.safetensors"));
  const golden = (name: string) => readTensorFloat32(tensors.get(`pipeline.${name}`)!);
  const sampler = await FlowMatchEuler.open(join(tinyFlux, "scheduler"));
  const { sigmas, timesteps } = sampler.schedule(6, 120);
  const close = (a: Float32Array, b: Float32Array) =>
    a.forEach((value, at) => expect(Math.abs(value - b[at]!)).toBeLessThanOrEqual(2e-7 * b[at]!));
  close(sigmas, await golden("sigmas"));
  close(timesteps, await golden("timesteps"));
  expect(sigmas.length).toBe(7);
});

test.each([1, 2, 28, 1000])("%d steps go down from 1 to 0", (steps) => {
  const { sigmas, timesteps } = new FlowMatchEuler({ ...plain, use_dynamic_shifting: true }).schedule(
    steps,
    4096,
  );
  expect(sigmas.length).toBe(steps + 1);
  expect(timesteps.length).toBe(steps);
  expect(sigmas[0]).toBe(1);
  expect(sigmas[steps]).toBe(0);
  for (let step = 0; step < steps; step++) expect(sigmas[step + 1]!).toBeLessThan(sigmas[step]!);
});

test("without dynamic shift the configured shift counts, whatever the size", () => {
  const sampler = new FlowMatchEuler({ ...plain, shift: 3 });
  const { sigmas } = sampler.schedule(4, 100);
  expect(sigmas).toEqual(Float32Array.of(1, 0.9, 0.75, 0.5, 0));
  expect(sampler.schedule(4, 9000).sigmas).toEqual(sigmas);
});

test("without any shift the steps are equal", () => {
  expect(new FlowMatchEuler(plain).schedule(4, 100).sigmas).toEqual(Float32Array.of(1, 0.75, 0.5, 0.25, 0));
});

test("a larger picture shifts towards noise", () => {
  const sampler = new FlowMatchEuler({ ...plain, use_dynamic_shifting: true });
  expect(sampler.schedule(4, 4096).sigmas[2]!).toBeGreaterThan(sampler.schedule(4, 256).sigmas[2]!);
});

test.each([0, -1, 1001, 2.5, Number.NaN])("%p steps are refused", (steps) => {
  expect(() => new FlowMatchEuler(plain).schedule(steps, 256)).toThrow("1 to 1000");
});

test.each([
  { use_karras_sigmas: true },
  { use_beta_sigmas: true },
  { use_exponential_sigmas: true },
  { stochastic_sampling: true },
  { invert_sigmas: true },
  { shift_terminal: 0.02 },
  { time_shift_type: "linear" },
  { _class_name: "EulerDiscreteScheduler" },
])("%p is refused by name", (setting) => {
  expect(() => new FlowMatchEuler({ ...plain, ...setting })).toThrow(Object.keys(setting)[0]!);
});
