import { Command } from "commander";
import { TamiasError } from "../../../ffi/errors.ts";
import { findModel, listModels } from "../../pipeline/models.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { table } from "../format.ts";
import { readVocabulary } from "../../pipeline/known-words.ts";
import { needsReport } from "../needs-report.ts";
import { readPolicy } from "../policy-option.ts";
import { costsOf, type RunArguments, withRunOptions } from "../run-options.ts";

interface ModelsArguments {
  readonly json?: boolean;
}

/** `tamias models`: what there is; `words NAME`: what a model can draw; `inspect NAME`: what a run of it needs. */
export function modelsCommand(context: CliContext, finish: (code: number) => void): Command {
  const models = new Command("models")
    .description("List the models that come with Tamias")
    .option("--json", "print one JSON object on standard output")
    .action(async (options: ModelsArguments) => finish(await list(options, context)));
  models
    .command("words")
    .description("List the words a model was trained on")
    .argument("<model>", "a model's name or folder")
    .option("--json", "print one JSON object on standard output")
    .action(async (name: string, _own: ModelsArguments, command: Command) =>
      finish(await words(name, command.optsWithGlobals<ModelsArguments>(), context)),
    );
  const inspect = models
    .command("inspect")
    .description("Say what a model is, and what a run of it needs, without loading it")
    .argument("<model>", "a model's name or folder")
    .addOption(deviceOption())
    .option("--json", "print one JSON object on standard output");
  withRunOptions(inspect).action(async (name: string, _own: InspectArguments, command: Command) =>
    finish(await inspectModel(name, command.optsWithGlobals<InspectArguments>(), context)),
  );
  return models;
}

interface InspectArguments extends ModelsArguments, RunArguments {
  readonly device: NonNullable<OpenOptions["device"]>;
}

/** The words of the prompt matter to nothing that is told here. */
const ANY_PROMPT = "anything";

async function inspectModel(
  name: string,
  { device, json, costs, size, width = size, height = size, policy: asked, ...run }: InspectArguments,
  context: CliContext,
): Promise<number> {
  const { policy } = await readPolicy(asked);
  const { steps, seed, guidance } = run;
  const request = { prompt: ANY_PROMPT, width, height, steps, seed, guidance, policy };
  const inspection = await context.engine.inspectRun(
    { model: name, device, costs: await costsOf(costs) },
    request,
  );
  if (json) {
    context.stdout.write(`${JSON.stringify(inspection, null, 2)}\n`);
    return exitCode.done;
  }
  const { model, family, sizes, defaults } = inspection;
  const guided = defaults.guidance === null ? "no guidance" : `guidance ${defaults.guidance}`;
  context.stdout.write(
    `${model}: ${family}, made for ${sizes.native} x ${sizes.native} (sides in multiples of ${sizes.multiple}), ` +
      `${defaults.steps} steps and ${guided} by default\n${needsReport(inspection)}`,
  );
  return exitCode.done;
}

async function list({ json }: ModelsArguments, context: CliContext): Promise<number> {
  const models = await listModels();
  if (json) context.stdout.write(`${JSON.stringify({ models }, null, 2)}\n`);
  else if (models.length === 0)
    context.stderr.write("No model comes with this package; --model takes a folder in diffusers format.\n");
  else context.stdout.write(table(models.map(({ name, family, folder }) => [name, family, folder])));
  return exitCode.done;
}

async function words(name: string, { json }: ModelsArguments, context: CliContext): Promise<number> {
  const model = await findModel(name);
  const vocabulary = await readVocabulary(model.folder);
  if (!vocabulary)
    throw new TamiasError(
      "not_found",
      `${model.name} brings no list of words (words.json); it takes any prompt.`,
    );
  if (json) {
    context.stdout.write(`${JSON.stringify({ model: model.name, words: vocabulary }, null, 2)}\n`);
    return exitCode.done;
  }
  const width = context.stdout.isTerminal ? context.stdout.columns : 100;
  const parts = Object.entries(vocabulary).map(
    ([kind, phrases]) => `${kind} (${phrases.length})\n${wrap(phrases.join(", "), width)}`,
  );
  context.stdout.write(`${parts.join("\n\n")}\n`);
  return exitCode.done;
}

/** Breaks text at spaces into indented lines. */
function wrap(text: string, width: number): string {
  const lines: string[] = [];
  let line = " ";
  for (const word of text.split(" ")) {
    if (line.trim() && line.length + 1 + word.length > width) {
      lines.push(line);
      line = " ";
    }
    line += ` ${word}`;
  }
  return [...lines, line].join("\n");
}
