/**
 * Policies against exact: wall time of whole requests, and PSNR and SSIM at the same seed.
 *   bun bench/policies.ts [--model acorn-image] [--size 512] [--prompts 16] [--steps 20] [--policies balanced,fast]
 *     [--set test|rule]
 * Writes bench/results/policies-<size>.json, or policies-<size>-rule-prompts.json for the prompts that chose the cache
 * rule.
 */
import { parseArgs } from "node:util";
import { open } from "../src/pipeline/open.ts";
import { Comparison, make } from "./fidelity.ts";
import { machine, writeResult } from "./machine.ts";
import { rulePrompts, testPrompts } from "./prompts.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "acorn-image" },
    size: { type: "string", default: "512" },
    prompts: { type: "string", default: "16" },
    steps: { type: "string", default: "20" },
    threads: { type: "string", default: "2" },
    device: { type: "string", default: "cpu" },
    policies: { type: "string", default: "chipmunk,balanced,fast" },
    set: { type: "string", default: "test" },
  },
});
const size = Number(values.size);
const steps = Number(values.steps);
if (!["test", "rule"].includes(values.set)) throw new Error(`--set is test or rule, not ${values.set}.`);
const isRuleSet = values.set === "rule";
const prompts = (isRuleSet ? rulePrompts : testPrompts).slice(0, Number(values.prompts));
const names = values.policies.split(",");

await using tamias = await open({
  model: values.model,
  device: values.device as "cpu" | "cuda",
  threads: Number(values.threads),
});
const comparisons = new Map(names.map((name) => [name, new Comparison()]));
const exactSeconds: number[] = [];
await make(tamias, { prompt: prompts[0]!, width: size, height: size, steps: 2, policy: "exact" });
for (const [index, prompt] of prompts.entries()) {
  const request = { prompt, width: size, height: size, steps, seed: 1000 + index };
  const exact = await make(tamias, { ...request, policy: "exact" });
  exactSeconds.push(exact.seconds);
  for (const [name, comparison] of comparisons) {
    comparison.add(await make(tamias, { ...request, policy: name }), exact);
    const { psnrMean, ssimMean, speedupMedian, density } = comparison.summary();
    console.error(
      `${index + 1}/${prompts.length} ${name.padEnd(10)} mean PSNR ${psnrMean} dB  SSIM ${ssimMean}  ${speedupMedian}x  density ${density}`,
    );
  }
}
const result = {
  what: "policies against exact, same seed, whole requests (text encoding, denoising, decoding)",
  command: `bun bench/policies.ts --model ${values.model} --size ${size} --prompts ${prompts.length} --steps ${steps} --policies ${values.policies} --set ${values.set}`,
  machine: machine(tamias.device, Number(values.threads)),
  model: tamias.model,
  size,
  steps,
  exactSecondsMedian: exactSeconds.toSorted((a, b) => a - b)[exactSeconds.length >> 1],
  policies: Object.fromEntries([...comparisons].map(([name, comparison]) => [name, comparison.summary()])),
};
console.log(JSON.stringify(result.policies, null, 2));
console.error(
  `Written to ${await writeResult(`policies-${size}${isRuleSet ? "-rule-prompts" : ""}`, result)}`,
);
