import { Argument, Command, Option } from "commander";
import type { StepEvent, TraceEvent } from "../../pipeline/events.ts";
import { hiddenShare } from "../../pipeline/hidden-share.ts";
import { findModel } from "../../pipeline/models.ts";
import { checkOptions, type GenerateOptions, requestLimits } from "../../pipeline/options.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { followRun } from "../follow-run.ts";
import { duration, percent } from "../format.ts";
import { makeReport } from "../generate-report.ts";
import { readVocabulary, unknownWords, type Vocabulary } from "../../pipeline/known-words.ts";
import { needsReport } from "../needs-report.ts";
import { wholeNumber } from "../number-option.ts";
import { checkOutputs, Outputs, type OutputPaths } from "../outputs.ts";
import { readPolicy } from "../policy-option.ts";
import { makeProgress, type Progress } from "../progress.ts";
import { costsOf, type RunArguments, withRunOptions } from "../run-options.ts";
import { untilAborted } from "../../pipeline/until-aborted.ts";

interface GenerateArguments extends OutputPaths, RunArguments {
  readonly model: string;
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly threads?: number;
  readonly pipeline?: NonNullable<OpenOptions["pipeline"]>;
  readonly previewEvery?: number;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** `tamias generate PROMPT`: makes one picture. */
export function generateCommand(context: CliContext, finish: (code: number) => void): Command {
  const command = new Command("generate")
    .description("Make a picture from a prompt")
    .addArgument(new Argument("<prompt>", "what to draw"))
    .addOption(
      new Option("-m, --model <model>", "an embedded model, or a folder in diffusers format")
        .env("TAMIAS_MODEL")
        .default("acorn-image"),
    );
  return withRunOptions(command)
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
      wholeNumber(1, requestLimits.steps.most),
    )
    .option("--preview-dir <folder>", "where the estimates go; alone it means one after every step")
    .option("--heatmap <file.png>", "draw which columns were recomputed, by step and layer")
    .option("--trace <file.json>", "write when each op ran, for Perfetto or chrome://tracing")
    .option("--dry-run", "say what the run would be and how much memory it would need, and make nothing")
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
  if (options.dryRun) return dryRun(request, options, context);
  await checkOutputs(options);

  using progress = makeProgress(context.stderr, options.quiet === true);
  const vocabulary = await readVocabulary(model.folder);
  if (vocabulary) noteUnknownWords(prompt, vocabulary, model.name, progress);

  progress.phase(`loading ${model.name}`);
  const began = performance.now();
  const { device, threads, pipeline } = options;
  const costs = await costsOf(options.costs);
  await using tamias = await untilAborted(
    context.engine.open({ model: options.model, device, threads, pipeline, costs }),
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

/** Says what a run would be and need. It fails where the run would. */
async function dryRun(
  request: GenerateOptions,
  { model, device, threads, costs, json }: GenerateArguments,
  { engine, stdout, stderr, signal }: CliContext,
): Promise<number> {
  const options = { model, device, threads, costs: await costsOf(costs) };
  const inspection = await untilAborted(engine.inspectRun(options, request), signal);
  for (const note of inspection.notes) stderr.write(`note: ${note}\n`);
  stdout.write(json ? `${JSON.stringify(inspection, null, 2)}\n` : needsReport(inspection));
  return inspection.fits ? exitCode.done : exitCode.failed;
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
