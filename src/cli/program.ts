import { Command, CommanderError } from "commander";
import { batchCommand } from "./commands/batch.ts";
import { benchCommand } from "./commands/bench.ts";
import { generateCommand } from "./commands/generate.ts";
import { modelsCommand } from "./commands/models.ts";
import { policiesCommand } from "./commands/policies.ts";
import { serveCommand } from "./commands/serve.ts";
import { workerCommand } from "./commands/worker.ts";
import { verifyCommand } from "./commands/verify.ts";
import type { CliContext } from "./context.ts";
import { describeError, type ErrorReport } from "./error-report.ts";
import { exitCode } from "./exit-code.ts";
import { version } from "../version.ts";

/**
 * Runs one command line; never throws.
 * @param args what follows the program's name
 * @returns the exit code: 0 done, 1 failed, 2 a mistake in the command line, 130 interrupted
 */
export async function runCli(args: readonly string[], context: CliContext): Promise<number> {
  let code: number = exitCode.done;
  const finish = (result: number): void => {
    code = result;
  };
  try {
    await makeProgram(context, finish).parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitCode.done;
    const isUsage = error instanceof CommanderError;
    const report = describeError(error);
    // Commander has already said what is wrong with the command line.
    if (!isUsage) context.stderr.write(errorText(report));
    if (asksForJson(args)) context.stdout.write(`${JSON.stringify({ error: jsonError(report) }, null, 2)}\n`);
    if (isUsage) return exitCode.usage;
    return context.signal.aborted ? exitCode.interrupted : exitCode.failed;
  }
}

function makeProgram(context: CliContext, finish: (code: number) => void): Command {
  const program = new Command("tamias")
    .description("Diffusion transformers with column-sparse deltas: recompute only the columns that moved.")
    .version(version)
    .exitOverride()
    .showHelpAfterError("Add --help to see what is possible.")
    .configureHelp({ sortSubcommands: false })
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, "tamias: ")),
    });
  for (const makeCommand of [
    generateCommand,
    serveCommand,
    batchCommand,
    workerCommand,
    verifyCommand,
    benchCommand,
    modelsCommand,
    policiesCommand,
  ]) {
    const command = makeCommand(context, finish);
    inheritSettings(program, command);
    program.addCommand(command);
  }
  return program;
}

function inheritSettings(parent: Command, command: Command): void {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inheritSettings(command, child);
}

function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? undefined : end).includes("--json");
}

function errorText({ message, hint, later = [], trace }: ErrorReport): string {
  const lines = [`tamias: ${message}`];
  if (hint) lines.push(`  hint: ${hint}`);
  for (const sentence of later) lines.push(`  afterwards: ${sentence}`);
  if (trace) lines.push(trace);
  return `${lines.join("\n")}\n`;
}

function jsonError({ code, message, hint, later }: ErrorReport): Omit<ErrorReport, "trace"> {
  return { code, message, ...(hint ? { hint } : {}), ...(later ? { later } : {}) };
}
