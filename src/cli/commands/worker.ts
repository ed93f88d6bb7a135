import { Command } from "commander";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { duration } from "../format.ts";
import { wholeNumber } from "../number-option.ts";
import { costsOf, costsOption } from "../run-options.ts";

interface WorkerArguments {
  readonly queue: string;
  readonly workers: number;
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly threads?: number;
  readonly costs?: string;
  readonly quiet?: boolean;
}

/** `tamias worker --queue nats://HOST`: makes pictures for batches anywhere. */
export function workerCommand(context: CliContext, finish: (code: number) => void): Command {
  return new Command("worker")
    .description("Make the pictures that batches on a NATS server ask for, until stopped")
    .requiredOption("--queue <address>", "the server, nats://host[:port]")
    .option("-w, --workers <number>", "processes side by side", wholeNumber(1, 256), 1)
    .addOption(deviceOption())
    .option(
      "--threads <number>",
      "CPU threads of each worker, where a batch asks for none; default: all cores",
      wholeNumber(1, 1024),
    )
    .addOption(costsOption())
    .option("-q, --quiet", "no progress")
    .action(async (options: WorkerArguments) => finish(await serve(options, context)));
}

async function serve(
  { queue, workers, device, threads, costs, quiet }: WorkerArguments,
  { stderr, signal }: CliContext,
): Promise<number> {
  const [{ QueueServer }, { serveQueue }] = await Promise.all([
    import("../../../workers/batch/nats/server.ts"),
    import("../../../workers/batch/nats/queue-worker.ts"),
  ]);
  const say = (line: string) => {
    if (!quiet) stderr.write(`${line}\n`);
  };
  await using server = await QueueServer.open({
    url: queue,
    onWarning: (message) => stderr.write(`${message}\n`),
  });
  say(`${workers} at work for ${new URL(queue).host}; Ctrl-C stops`);
  await serveQueue(
    server,
    { device, threads, costs: await costsOf(costs) },
    {
      workers,
      signal,
      tell: (event) => {
        if (event.type === "done") say(`${event.id}: ${duration(event.seconds)}`);
        if (event.type === "failed") say(`${event.id}: ${event.message}`);
      },
    },
  );
  return exitCode.done;
}
