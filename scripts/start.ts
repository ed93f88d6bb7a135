// Shows what Tamias does: one picture made twice with the embedded model, in full and with column deltas.
//   npm start                      a picture of its own
//   npm start -- "an owl on red"   a picture of yours
// TAMIAS_MODEL names another model or folder.
import { join, relative } from "node:path";
import type { OpenedModel } from "../src/cli/context.ts";
import { describeError } from "../src/cli/error-report.ts";
import { followRun } from "../src/cli/follow-run.ts";
import { duration, percent, table } from "../src/cli/format.ts";
import type { FollowedRun } from "../src/cli/generate-report.ts";
import { pictureMetadata } from "../src/media/picture-metadata.ts";
import { makeProgress } from "../src/cli/progress.ts";
import { writePicture } from "../src/cli/write-picture.ts";
import { drawHeatmap } from "../src/media/heatmap.ts";
import { psnr, ssim } from "../src/media/metrics.ts";
import { open } from "../src/pipeline/open.ts";

const examplePrompt = "3d render of a fox on a sky blue background";
const seed = 7;
const steps = 20;
/** Both runs together should take no longer than this; where 512 x 512 would, the picture is smaller. */
const patienceSeconds = 120;
/** What both runs cost, in dense steps for each step; a rough guess. */
const bothRuns = 1.6;
const out = join(import.meta.dir, "..", "out");

/** One of the two runs, and where its picture is. */
interface Run extends FollowedRun {
  readonly policy: string;
  readonly path: string;
}

async function main(prompt: string): Promise<void> {
  const model = process.env.TAMIAS_MODEL ?? "acorn-image";
  const began = performance.now();
  await using tamias = await open({ model });
  const loadSeconds = (performance.now() - began) / 1000;
  console.log(`\n"${prompt}"\n${tamias.model} on ${tamias.device}, loaded in ${duration(loadSeconds)}`);

  const size = await chooseSize(tamias, prompt);
  const make = async (policy: string): Promise<Run> => {
    console.log(`\npolicy ${policy}`);
    const run = await draw(tamias, { prompt, policy, size });
    const path = join(out, `start-${policy}.png`);
    await writePicture(path, run.result, pictureMetadata(run.result, { device: run.start.device, policy }));
    return { ...run, policy, path };
  };
  const exact = await make("exact");
  const balanced = await make("balanced");
  const heatmap = join(out, "start-heatmap.png");
  await writePicture(heatmap, drawHeatmap(balanced));
  printComparison(exact, balanced, heatmap);
}

/** 512 pixels where this machine makes both pictures in time, else 256. One dense step tells, and warms up. */
async function chooseSize(tamias: OpenedModel, prompt: string): Promise<number> {
  process.stdout.write("measuring one step … ");
  for await (const event of tamias.generate({ prompt, width: 512, height: 512, steps: 1, policy: "exact" })) {
    if (event.type !== "step") continue;
    const fits = bothRuns * steps * event.seconds <= patienceSeconds;
    console.log(`${duration(event.seconds)} at 512 x 512${fits ? "" : "; making 256 x 256 instead"}`);
    return fits ? 512 : 256;
  }
  return 256;
}

async function draw(
  tamias: OpenedModel,
  { prompt, policy, size }: { prompt: string; policy: string; size: number },
): Promise<FollowedRun> {
  const { stdout } = process;
  const sink = {
    isTerminal: stdout.isTTY,
    columns: stdout.columns || 80,
    write: (text: string) => void stdout.write(text),
  };
  using progress = makeProgress(sink, false);
  const request = {
    prompt,
    policy,
    seed,
    steps,
    width: size,
    height: size,
    recordColumns: policy !== "exact",
  };
  return await followRun(tamias, request, { signal: new AbortController().signal, progress });
}

function printComparison(exact: Run, balanced: Run, heatmap: string): void {
  const runs = [exact, balanced];
  const row = (name: string, value: (run: Run) => string) => [name, ...runs.map(value)];
  const speedup = exact.result.seconds.total / balanced.result.seconds.total;
  console.log(
    `\n${table([
      row("", ({ policy }) => policy),
      row("whole picture", ({ result }) => duration(result.seconds.total)),
      row("columns recomputed", ({ result }) => percent(result.density)),
      row("  attention keys", ({ result }) => percent(result.attentionDensity)),
      row("  MLP neurons", ({ result }) => percent(result.mlpDensity)),
    ])}
balanced is ${speedup.toFixed(2)} times as fast; PSNR ${psnr(balanced.result, exact.result).toFixed(1)} dB and SSIM ${ssim(balanced.result, exact.result).toFixed(3)} to exact.

${table([
  ...runs.map(({ path, policy }) => [relative(".", path), `the picture at ${policy}`]),
  [relative(".", heatmap), "which columns balanced recomputed, by step and layer"],
])}
Next: npx tamias generate "a prompt of yours" --policy balanced`,
  );
}

try {
  await main(process.argv[2] ?? examplePrompt);
} catch (error) {
  const { message, hint, later = [], trace } = describeError(error);
  const afterwards = later.map((sentence) => `  afterwards: ${sentence}`);
  const lines = [`start: ${message}`, ...(hint ? [`  hint: ${hint}`] : []), ...afterwards];
  console.error([...lines, ...(trace ? [trace] : [])].join("\n"));
  process.exit(1);
}
