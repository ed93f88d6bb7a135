import { cpus, totalmem } from "node:os";
import { version } from "../package.json";

export { median } from "../src/bench/median.ts";

/** What a result was measured on and with, for the head of its JSON. */
export function machine(device: string, threads: number) {
  return {
    device,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    threads,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    bun: Bun.version,
    tamias: version,
    date: new Date().toISOString().slice(0, 10),
  };
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The mean of the worst twentieth, at least one value. */
export function worst(values: readonly number[]): number {
  return mean(values.toSorted((a, b) => a - b).slice(0, Math.max(1, Math.round(values.length / 20))));
}

export async function writeResult(name: string, result: unknown): Promise<string> {
  const path = new URL(`results/${name}.json`, import.meta.url);
  await Bun.write(path, `${JSON.stringify(result, null, 2)}\n`);
  return `bench/results/${name}.json`;
}
