import { test } from "bun:test";
import { type Backend, Device } from "../../../ffi/index.ts";
import { whyNoCuda } from "../../gpu/why-no-cuda.ts";
import { Bench } from "./bench.ts";
import { Random } from "./random.ts";

/** Nothing takes a second alone, but the machine may be busy. */
export const TIMEOUT_MILLISECONDS = 120_000;

/** Declares tests that run on one backend. */
export interface NativeTests {
  readonly backend: Backend;
  test(name: string, body: (bench: Bench) => void | Promise<void>): void;
}

/**
 * The tests' backend: the CPU, or what TAMIAS_TEST_BACKEND names. Without a GPU, CUDA's tests are skipped and the reason
 * is printed. TAMIAS_TEST_SEED repeats the random inputs of a failed run.
 */
export async function nativeTests(): Promise<NativeTests> {
  const backend = testBackend();
  const reason = backend === "cuda" ? await whyNoCuda() : undefined;
  if (reason) console.warn(`Native tests on ${backend} are skipped: ${reason}`);
  const seed = testSeed();
  const run = async (name: string, body: (bench: Bench) => void | Promise<void>) => {
    const random = new Random(seed, name);
    using device = await Device.open({ backend, threads: random.integer(1, 3) });
    using bench = new Bench(device, random);
    try {
      await body(bench);
    } catch (error) {
      console.error(`TAMIAS_TEST_SEED=${seed} repeats the inputs of "${name}".`);
      throw error;
    }
  };
  return {
    backend,
    test: (name, body) =>
      test.skipIf(reason !== undefined)(name, () => run(name, body), TIMEOUT_MILLISECONDS),
  };
}

export function testBackend(): Backend {
  const wanted = process.env["TAMIAS_TEST_BACKEND"] ?? "cpu";
  if (wanted !== "cpu" && wanted !== "cuda")
    throw new Error(`TAMIAS_TEST_BACKEND must be cpu or cuda, got "${wanted}".`);
  return wanted;
}

export function testSeed(): number {
  const given = process.env["TAMIAS_TEST_SEED"];
  if (given === undefined) return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  const seed = Number(given);
  if (!Number.isSafeInteger(seed))
    throw new Error(`TAMIAS_TEST_SEED must be a whole number, got "${given}".`);
  return seed;
}
