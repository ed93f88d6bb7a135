/**
 * Masks beside the denoising against masks in turn, and neuron masks chosen ahead against fresh ones: time of the
 * denoising, quality against exact, and how much of the mask stream's time the compute stream worked too.
 *   bun bench/overlap.ts [--model acorn-image] [--device cpu] [--size 512] [--prompts 8] [--steps 20] [--threads 2]
 * Writes bench/results/overlap-<backend>-<size>.json.
 */
import { parseArgs } from "node:util";
import type { ColumnPolicySettings } from "../src/delta/column-policy.ts";
import { psnr } from "../src/media/metrics.ts";
import type { ResultEvent, StepEvent, TraceEvent } from "../src/pipeline/events.ts";
import { hiddenShare } from "../src/pipeline/hidden-share.ts";
import { open, type Tamias } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { machine, mean, median, worst, writeResult } from "./machine.ts";
import { rulePrompts } from "./prompts.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "acorn-image" },
    device: { type: "string", default: "cpu" },
    size: { type: "string", default: "512" },
    prompts: { type: "string", default: "8" },
    steps: { type: "string", default: "20" },
    threads: { type: "string", default: "2" },
  },
});
const size = Number(values.size);
const prompts = rulePrompts.slice(0, Number(values.prompts));

/** The columns of `balanced`, in every step, so that nothing but masks differs. */
const columns = (choose: "fresh" | "ahead"): ColumnPolicySettings => ({
  name: choose,
  attention: { select: { kind: "topK", density: 0.15 }, refresh: { from: 1, every: 4 } },
  mlp: { select: { kind: "topK", density: 0.3 }, choose, refresh: { from: 1, every: 4 } },
});

const orders = ["serial", "overlap"] as const;
const choices = ["fresh", "ahead"] as const;
interface Measured {
  readonly seconds: number[];
  readonly deltaSteps: number[];
  readonly refreshSteps: number[];
  readonly psnr: number[];
  readonly hidden: number[];
  readonly maskSeconds: number[];
  late: number;
}
const measured = new Map<string, Measured>();
for (const choice of choices)
  for (const order of orders)
    measured.set(`${choice}, ${order}`, {
      seconds: [],
      deltaSteps: [],
      refreshSteps: [],
      psnr: [],
      hidden: [],
      maskSeconds: [],
      late: 0,
    });

async function make(tamias: Tamias, options: GenerateOptions) {
  const steps: StepEvent[] = [];
  let trace: TraceEvent | undefined;
  for await (const event of tamias.generate(options)) {
    if (event.type === "step") steps.push(event);
    if (event.type === "trace") trace = event;
    if (event.type === "result") return { result: event, steps, trace };
  }
  throw new Error("The generation ended without a result.");
}

const engines = new Map<string, Tamias>();
await using opened = new AsyncDisposableStack();
for (const pipeline of orders)
  engines.set(
    pipeline,
    opened.use(
      await open({
        model: values.model,
        device: values.device as "cpu" | "cuda",
        threads: Number(values.threads),
        pipeline,
      }),
    ),
  );
for (const tamias of engines.values())
  await make(tamias, { prompt: prompts[0]!, width: size, height: size, steps: 3, policy: columns("fresh") });

for (const [index, prompt] of prompts.entries()) {
  const request = { prompt, width: size, height: size, steps: Number(values.steps), seed: 1000 + index };
  const { result: exact } = await make(engines.get("serial")!, { ...request, policy: "exact" });
  for (const choice of choices)
    for (const order of orders) {
      const tamias = engines.get(order)!;
      const into = measured.get(`${choice}, ${order}`)!;
      const { result, steps } = await make(tamias, { ...request, policy: columns(choice) });
      note(into, result, steps, exact);
      if (order === "overlap" && index === 0) {
        const { trace } = await make(tamias, { ...request, policy: columns(choice), trace: true });
        into.hidden.push(hiddenShare(trace!.masks, trace!.compute));
        into.maskSeconds.push(trace!.masks.reduce((sum, span) => sum + span.seconds, 0));
      }
      console.error(
        `${index + 1}/${prompts.length} ${choice}, ${order}: ${result.seconds.denoise.toFixed(2)} s, PSNR ${into.psnr.at(-1)!.toFixed(2)} dB`,
      );
    }
}

function note(into: Measured, result: ResultEvent, steps: readonly StepEvent[], exact: ResultEvent): void {
  into.seconds.push(result.seconds.denoise);
  into.psnr.push(Math.min(99, psnr(result, exact)));
  into.late += steps.reduce((sum, { lateMasks = 0 }) => sum + lateMasks, 0);
  for (const { cells, seconds } of steps) {
    const action = cells.at(-1)?.action;
    if (action === "delta") into.deltaSteps.push(seconds);
    if (action === "refresh") into.refreshSteps.push(seconds);
  }
}

const device = engines.get("serial")!.device;
const result = {
  what: "masks and caches beside the denoising (overlap) or in turn (serial); neuron masks fresh or chosen one step ahead",
  command: `bun bench/overlap.ts --model ${values.model} --device ${values.device} --size ${size} --prompts ${prompts.length} --steps ${values.steps} --threads ${values.threads}`,
  machine: machine(device, Number(values.threads)),
  size,
  steps: Number(values.steps),
  prompts: prompts.length,
  results: Object.fromEntries(
    [...measured].map(([name, all]) => [
      name,
      {
        denoiseSecondsMedian: round(median(all.seconds)),
        deltaStepSecondsMedian: round(median(all.deltaSteps)),
        refreshStepSecondsMedian: round(median(all.refreshSteps)),
        psnrMean: round(mean(all.psnr)),
        psnrWorst: round(worst(all.psnr)),
        ...(all.hidden.length === 0
          ? {}
          : {
              maskSeconds: round(all.maskSeconds[0]!),
              hiddenShare: round(all.hidden[0]!),
              lateMasksARun: round(all.late / prompts.length),
            }),
      },
    ]),
  ),
};
console.log(JSON.stringify(result.results, null, 2));
console.error(`Written to ${await writeResult(`overlap-${values.device}-${size}`, result)}`);

function round(value: number): number {
  return Number(value.toFixed(4));
}
