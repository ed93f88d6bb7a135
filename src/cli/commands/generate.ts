import { Argument, Command, Option } from "commander";
import type { StepEvent, TraceEvent } from "../../pipeline/events.ts";
import { hiddenShare } from "../../pipeline/hidden-share.ts";
import { findModel } from "../../pipeline/models.ts";
import { checkOptions, type GenerateOptions } from "../../pipeline/options.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { followRun } from "../follow-run.ts";
import { duration, percent } from "../format.ts";
import { makeReport } from "../generate-report.ts";
import { readVocabulary, unknownWords, type Vocabulary } from "../../pipeline/known-words.ts";
import { decimalNumber, wholeNumber } from "../number-option.ts";
import { checkOutputs, Outputs, type OutputPaths } from "../outputs.ts";
import { readPolicy } from "../policy-option.ts";
import { makeProgress, type Progress } from "../progress.ts";
import { untilAborted } from "../../pipeline/until-aborted.ts";

const MAX_SIZE = 8192;

interface GenerateArguments extends OutputPaths {
  readonly model: string;
  readonly policy: string;
  readonly steps: number;
  readonly seed?: number;
  readonly size?: number;
  readonly width?: number;
  readonly height?: number;
  readonly guidance?: number;
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly threads?: number;
  readonly pipeline?: NonNullable<OpenOptions["pipeline"]>;
  readonly previewEvery?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** `tamias generate PROMPT`: makes one picture. */
export function generateCommand(context: CliContext, finish: (code: number) => void): Command {
  const size = wholeNumber(16, MAX_SIZE);
  return new Command("generate")
    .description("Make a picture from a prompt")
    .addArgument(new Argument("<prompt>", "what to draw"))
    .addOption(
      new Option("-m, --model <model>", "an embedded model, or a folder in diffusers format")
        .env("TAMIAS_MODEL")
        .default("acorn-image"),
    )
    .option("-p, --policy <policy>", "a policy's name, its settings as JSON, or a JSON file", "balanced")
    .option("--steps <number>", "denoising steps", wholeNumber(1, 1000), 20)
    .option("--seed <number>", "start of the noise; default: random", wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .addOption(
      new Option("--size <pixels>", "width and height; default: the model's own")
        .argParser(size)
        .conflicts(["width", "height"]),
    )
    .option("--width <pixels>", "width alone", size)
    .option("--height <pixels>", "height alone", size)
    .option("--guidance <scale>", "how closely to follow the prompt", decimalNumber(0, 100))
    .addOption(deviceOption())
    .option("--threads <number>", "CPU threads; default: all cores", wholeNumber(1, 1024))
    .addOption(
      new Option("--pipeline <order>", "masks beside the denoising, or in turn").choices([
        "overlap",
        "serial",
      ]),
    )
    .option("-o, --out <file.png>", "where the picture goes; default: a name in out/")
    .option(
      "--preview-every <steps>",
      "write an estimate of the picture every so many steps",
      wholeNumber(1, 1000),
    )
    .option("--preview-dir <folder>", "where the estimates go; alone it means one after every step")
    .option("--heatmap <file.png>", "draw which columns were recomputed, by step and layer")
    .option("--trace <file.json>", "write when each op ran, for Perfetto or chrome://tracing")
    .option("--json", "print one JSON object on standard output")
    .option("-q, --quiet", "no progress")
    .action(async (prompt: string, options: GenerateArguments) => {
      finish(await generate(prompt, options, context));
    });
}

async function generate(prompt: string, options: GenerateArguments, context: CliContext): Promise<number> {
  const { signal } = context;
  const { policy } = await readPolicy(options.policy);
  const request: GenerateOptions = {
    prompt,
    width: options.width ?? options.size,
    height: options.height ?? options.size,
    steps: options.steps,
    seed: options.seed,
    guidance: options.guidance,
    policy,
    previewEvery: options.previewEvery ?? (options.previewDir ? 1 : 0),
    recordColumns: options.heatmap !== undefined,
    trace: options.trace !== undefined,
  };
  // Whatever can be known to fail is known before the weights are loaded.
  checkOptions(request);
  const model = await findModel(options.model);
  await checkOutputs(options);

  using progress = makeProgress(context.stderr, options.quiet === true);
  const vocabulary = await readVocabulary(model.folder);
  if (vocabulary) noteUnknownWords(prompt, vocabulary, model.name, progress);

  progress.phase(`loading ${model.name}`);
  const began = performance.now();
  const { device, threads, pipeline } = options;
  await using tamias = await untilAborted(
    context.engine.open({ model: options.model, device, threads, pipeline }),
    signal,
  );
  const loadSeconds = (performance.now() - began) / 1000;

  progress.phase("encoding the prompt");
  const outputs = new Outputs(options);
  const run = await followRun(tamias, request, { signal, progress, outputs });
  const report = makeReport(run, loadSeconds, policy);
  const files = await outputs.write(run, report);

  if (options.json) {
    context.stdout.write(`${JSON.stringify({ ...report, files }, null, 2)}\n`);
    return exitCode.done;
  }
  const { load, encode, denoise, decode, total } = report.seconds;
  progress.note(
    `${duration(total)}: load ${duration(load)}, encode ${duration(encode)}, denoise ${duration(denoise)} (${duration(report.secondsPerStep)} a step), decode ${duration(decode)}`,
  );
  const { attention, mlp } = report.density;
  progress.note(
    `density ${percent(report.density.mean)}: attention ${percent(attention)}, MLP ${percent(mlp)}`,
  );
  if (run.trace) progress.note(`trace: ${files.trace}${maskTime(run.trace, run.steps)}`);
  if (files.heatmap) progress.note(`heat map: ${files.heatmap}`);
  if (files.previews.length > 0) progress.note(`estimates: ${files.previews[0]} … ${files.previews.at(-1)}`);
  context.stdout.write(`${files.picture}\n`);
  return exitCode.done;
}

/** What the mask stream did, and how much of it beside the first. */
function maskTime({ masks, compute }: TraceEvent, steps: readonly StepEvent[]): string {
  if (masks.length === 0) return "";
  const seconds = masks.reduce((sum, span) => sum + span.seconds, 0);
  const late = steps.reduce((sum, { lateMasks = 0 }) => sum + lateMasks, 0);
  const hidden = percent(hiddenShare(masks, compute));
  return `; masks ${duration(seconds)}, ${hidden} of it beside the denoising, ${late} late`;
}

function noteUnknownWords(prompt: string, vocabulary: Vocabulary, model: string, progress: Progress): void {
  for (const { word, nearest } of unknownWords(prompt, vocabulary))
    progress.note(
      nearest
        ? `note: ${model} does not know "${word}"; did you mean "${nearest}"?`
        : `note: ${model} does not know "${word}"; \`tamias models words ${model}\` lists what it knows.`,
    );
}
