import { type Command, Option } from "commander";
import { type Costs, readCosts } from "../delta/cost-model.ts";
import { DEFAULT_POLICY, requestLimits } from "../pipeline/options.ts";
import { decimalNumber, wholeNumber } from "./number-option.ts";

/** What the command line was told of a run, besides its prompt. */
export interface RunArguments {
  readonly policy: string;
  readonly steps?: number;
  readonly seed?: number;
  readonly size?: number;
  readonly width?: number;
  readonly height?: number;
  readonly guidance?: number;
  readonly costs?: string;
}

/** Adds the options that say what is to be made. */
export function withRunOptions(command: Command): Command {
  const { side, steps, seed, guidance } = requestLimits;
  const pixels = wholeNumber(side.least, side.most);
  return command
    .option("-p, --policy <policy>", "a policy's name, its settings as JSON, or a JSON file", DEFAULT_POLICY)
    .option(
      "--steps <number>",
      "denoising steps; default: the model's own",
      wholeNumber(steps.least, steps.most),
    )
    .option("--seed <number>", "start of the noise; default: random", wholeNumber(seed.least, seed.most))
    .addOption(
      new Option("--size <pixels>", "width and height; default: the model's own")
        .argParser(pixels)
        .conflicts(["width", "height"]),
    )
    .option("--width <pixels>", "width alone", pixels)
    .option("--height <pixels>", "height alone", pixels)
    .option(
      "--guidance <scale>",
      "how closely to follow the prompt; default: the model's own",
      decimalNumber(guidance.least, guidance.most),
    )
    .addOption(costsOption());
}

/** `--costs`, as all commands that run a model have it. */
export function costsOption(): Option {
  return new Option(
    "--costs <file.json>",
    "what deltas cost on this machine, as `tamias bench costs` measured it",
  );
}

/**
 * What `--costs` names, where it is given.
 * @throws TamiasError `not_found` or `bad_input`
 */
export async function costsOf(path: string | undefined): Promise<Costs | undefined> {
  return path === undefined ? undefined : readCosts(path);
}
