/**
 * What to remember of the unchosen keys: cache rules at equal density and equal refreshes (attention deltas only),
 * PSNR to exact at the same seed.
 *   bun bench/cache-rules.ts [--model acorn-image] [--size 256] [--prompts 32] [--steps 20] [--every 5] [--density 0.165]
 * Writes bench/results/cache-rules-<size>.json.
 */
import { parseArgs } from "node:util";
import type { ColumnPolicySettings } from "../src/delta/column-policy.ts";
import { open } from "../src/pipeline/open.ts";
import { Comparison, make } from "./fidelity.ts";
import { machine, mean, writeResult } from "./machine.ts";
import { rulePrompts, tuningPrompts } from "./prompts.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "acorn-image" },
    size: { type: "string", default: "256" },
    prompts: { type: "string", default: "32" },
    steps: { type: "string", default: "20" },
    every: { type: "string", default: "5" },
    density: { type: "string", default: "0.165" },
    threads: { type: "string", default: "2" },
    device: { type: "string", default: "cpu" },
    rules: { type: "string", default: "" },
    tuning: { type: "boolean", default: false },
  },
});
const size = Number(values.size);
const steps = Number(values.steps);
const prompts = (values.tuning ? tuningPrompts : rulePrompts).slice(0, Number(values.prompts));

type Attention = NonNullable<ColumnPolicySettings["attention"]>;
const control = (beta: number, forecast = 0) => ({ cache: { rule: "control" as const, beta }, forecast });
const rules: Record<string, Pick<Attention, "cache" | "forecast">> = {
  difference: control(1),
  "beta 0.9": control(0.9),
  "beta 0.8": control(0.8),
  "beta 0.6": control(0.6),
  "log-sum-exp": { cache: { rule: "lse" }, forecast: 0 },
  "forecast 0.5": control(1, 0.5),
  "forecast 1": control(1, 1),
  "beta 0.9, forecast 0.5": control(0.9, 0.5),
  none: { cache: { rule: "none" }, forecast: 0 },
};
const asked = values.rules === "" ? Object.keys(rules) : values.rules.split(";");

await using tamias = await open({
  model: values.model,
  device: values.device as "cpu" | "cuda",
  threads: Number(values.threads),
});
const comparisons = new Map(asked.map((name) => [name, new Comparison()]));
for (const [index, prompt] of prompts.entries()) {
  const request = { prompt, width: size, height: size, steps, seed: 1000 + index };
  const exact = await make(tamias, { ...request, policy: "exact" });
  for (const [name, comparison] of comparisons) {
    const policy: ColumnPolicySettings = {
      attention: {
        select: { kind: "topK", density: Number(values.density) },
        refresh: { from: 1, every: Number(values.every) },
        ...rules[name]!,
      },
      mlp: null,
    };
    comparison.add(await make(tamias, { ...request, policy }), exact);
  }
  const line = [...comparisons].map(([name, { psnr }]) => `${name} ${mean(psnr).toFixed(2)}`).join("  ");
  console.error(`${index + 1}/${prompts.length} ${line}`);
}
const result = {
  what: "cache rules at equal density and refreshes, attention deltas only, PSNR to exact at the same seed",
  command: `bun bench/cache-rules.ts --model ${values.model} --size ${size} --prompts ${prompts.length} --steps ${steps} --every ${values.every} --density ${values.density}`,
  machine: machine(tamias.device, Number(values.threads)),
  model: tamias.model,
  size,
  steps,
  refreshEvery: Number(values.every),
  density: Number(values.density),
  rules: Object.fromEntries([...comparisons].map(([name, comparison]) => [name, comparison.summary()])),
};
console.log(JSON.stringify(result.rules, null, 2));
console.error(`Written to ${await writeResult(`cache-rules-${size}`, result)}`);
