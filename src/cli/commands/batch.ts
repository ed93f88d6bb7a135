import { Argument, Command, Option } from "commander";
import { errorCode, TamiasError } from "../../../ffi/errors.ts";
import type { BatchEndEvent } from "../../../workers/batch/events.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import { BatchReporter } from "../batch-progress.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { duration } from "../format.ts";
import { wholeNumber } from "../number-option.ts";
import { costsOf, costsOption } from "../run-options.ts";

interface BatchArguments {
  readonly out: string;
  readonly workers?: number;
  readonly queue?: string;
  readonly model: string;
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly threads?: number;
  readonly resume?: boolean;
  readonly costs?: string;
  readonly strict?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** `tamias batch JOBS`: makes many pictures. */
export function batchCommand(context: CliContext, finish: (code: number) => void): Command {
  return new Command("batch")
    .description("Make the pictures that a file asks for, one JSON object a line")
    .addArgument(
      new Argument("<jobs.jsonl>", "each line the options of a picture: prompt, seed, steps, size …"),
    )
    .requiredOption("-o, --out <folder>", "where the pictures and manifest.jsonl go")
    .option(
      "-w, --workers <number>",
      "processes side by side; default: 1, with --queue 0",
      wholeNumber(0, 256),
    )
    .option("--queue <address>", "share the work with the workers of a NATS server, nats://host[:port]")
    .addOption(
      new Option("-m, --model <model>", "for jobs that name none").env("TAMIAS_MODEL").default("acorn-image"),
    )
    .addOption(deviceOption())
    .option("--threads <number>", "CPU threads of each worker; default: all cores", wholeNumber(1, 1024))
    .addOption(costsOption())
    .option("--resume", "go on with the batch in the folder")
    .option("--strict", "stop at the first bad line or picture that fails")
    .option("--json", "print one JSON object on standard output")
    .option("-q, --quiet", "no progress")
    .action(async (jobs: string, options: BatchArguments) => {
      finish(await batch(jobs, options, context));
    });
}

async function batch(
  jobs: string,
  { json, quiet, costs, ...options }: BatchArguments,
  { stdout, stderr, signal }: CliContext,
): Promise<number> {
  const { runBatch } = await import("../../../workers/batch/run-batch.ts");
  let end: BatchEndEvent | undefined;
  {
    using reporter = new BatchReporter(stderr, quiet === true);
    try {
      for await (const event of runBatch({ jobs, ...options, costs: await costsOf(costs), signal })) {
        reporter.tell(event);
        if (event.type === "end") end = event;
      }
    } catch (error) {
      if (errorCode(error) !== "aborted") throw error;
      throw new TamiasError("aborted", "The batch was stopped.", {
        hint: `The same command with --resume goes on with it.`,
        cause: error,
      });
    }
  }
  const { done, failed, invalid, seconds, manifest } = end!;
  if (json) stdout.write(`${JSON.stringify({ done, failed, invalid, seconds, manifest }, null, 2)}\n`);
  else {
    stderr.write(`${done} done, ${failed} failed, ${invalid} bad lines, in ${duration(seconds)}\n`);
    stdout.write(`${manifest}\n`);
  }
  return failed + invalid > 0 ? exitCode.failed : exitCode.done;
}
