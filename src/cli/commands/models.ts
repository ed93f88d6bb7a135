import { Command } from "commander";
import { TamiasError } from "../../../ffi/errors.ts";
import { findModel, listModels } from "../../pipeline/models.ts";
import type { CliContext } from "../context.ts";
import { exitCode } from "../exit-code.ts";
import { table } from "../format.ts";
import { readVocabulary } from "../../pipeline/known-words.ts";

interface ModelsArguments {
  readonly json?: boolean;
}

/** `tamias models`: what there is; `tamias models words NAME`: what a model can draw. */
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
  return models;
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
