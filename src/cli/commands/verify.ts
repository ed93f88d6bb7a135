import { Command } from "commander";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { table } from "../format.ts";
import { untilAborted } from "../../pipeline/until-aborted.ts";

interface VerifyArguments {
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly json?: boolean;
}

/** `tamias verify DIR`: compares every part of a model with golden outputs beside its weights. */
export function verifyCommand(context: CliContext, finish: (code: number) => void): Command {
  return new Command("verify")
    .description("Compare a model's parts with the golden outputs in its folder")
    .argument("<folder>", "a folder in diffusers format with golden.safetensors")
    .addOption(deviceOption())
    .option("--json", "print one JSON object on standard output")
    .action(async (folder: string, options: VerifyArguments) => {
      finish(await verify(folder, options, context));
    });
}

async function verify(
  folder: string,
  { device, json }: VerifyArguments,
  context: CliContext,
): Promise<number> {
  const parts = await untilAborted(context.engine.verifyFolder(folder, { device }), context.signal);
  const ok = parts.every((part) => part.ok);
  if (json) {
    context.stdout.write(`${JSON.stringify({ folder, ok, parts }, null, 2)}\n`);
  } else {
    const rows = parts.map(({ part, error, tolerance, ok: good }) => [
      part,
      error.toExponential(2),
      tolerance.toExponential(0),
      good ? "ok" : "ABOVE TOLERANCE",
    ]);
    context.stdout.write(table([["part", "relative L2 error", "tolerance", ""], ...rows]));
  }
  return ok ? exitCode.done : exitCode.failed;
}
