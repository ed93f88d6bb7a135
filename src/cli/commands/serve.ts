import { Command, Option } from "commander";
import { defaultDeadlines } from "../../../workers/deadlines.ts";
import type { ProcessEvent } from "../../../workers/open-in-process.ts";
import { readVocabulary } from "../../pipeline/known-words.ts";
import { findModel } from "../../pipeline/models.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { Logger } from "../../server/index.ts";
import type { ServerSettingsInput } from "../../server/settings.ts";
import { parseApiKeys, readApiKeys } from "../api-keys.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { duration } from "../format.ts";
import { decimalNumber, wholeNumber } from "../number-option.ts";
import { costsOf, costsOption } from "../run-options.ts";
import { textLogger } from "../text-log.ts";
import { untilAborted } from "../../pipeline/until-aborted.ts";

/** Encoding, the first step and decoding take longer than a step among others; half an hour by default. */
const AROUND_STEPS = 15;

interface ServeArguments {
  readonly model: string;
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly threads?: number;
  readonly host: string;
  readonly port: number;
  readonly apiKeys?: string;
  readonly cors?: string[];
  readonly queue: number;
  readonly jobsPerKey?: number;
  readonly maxSteps: number;
  readonly maxSize: number;
  readonly costs?: string;
  readonly drain: number;
  readonly stop: number;
  readonly hang: number;
  readonly log?: "text" | "json" | "none";
  readonly json?: boolean;
}

/** `tamias serve`: answers over HTTP until it is told to stop. */
export function serveCommand(context: CliContext, finish: (code: number) => void): Command {
  return new Command("serve")
    .description("Serve a model over HTTP: a page, streams, jobs, and OpenAI's images")
    .addOption(
      new Option("-m, --model <model>", "an embedded model, or a folder in diffusers format")
        .env("TAMIAS_MODEL")
        .default("acorn-image"),
    )
    .addOption(deviceOption())
    .option("--threads <number>", "CPU threads; default: all cores", wholeNumber(1, 1024))
    .addOption(costsOption())
    .addOption(new Option("--host <address>", "where to listen; 0.0.0.0 for everybody").default("127.0.0.1"))
    .addOption(
      new Option("-p, --port <number>", "0 takes any free port")
        .env("TAMIAS_PORT")
        .argParser(wholeNumber(0, 65_535))
        .default(8787),
    )
    .option(
      "--api-keys <file>",
      "who may use it: NAME KEY on each line; or keys in TAMIAS_API_KEYS, separated by commas",
    )
    .option("--cors <origin...>", "origins whose pages may call it")
    .option("--queue <number>", "jobs that may wait", wholeNumber(1, 100_000), 64)
    .option("--jobs-per-key <number>", "jobs that one API key may have", wholeNumber(1, 100_000))
    .option("--max-steps <number>", "steps that a request may ask for", wholeNumber(1, 1000), 200)
    .option("--max-size <pixels>", "largest square that a request may ask for", wholeNumber(16, 8192), 2048)
    .option("--drain <seconds>", "how long to wait for jobs when told to stop", decimalNumber(0, 86_400), 30)
    .option(
      "--stop <seconds>",
      "how long the device may take to stop a job; then its process is ended and another started",
      decimalNumber(0.1, 86_400),
      30,
    )
    .option(
      "--hang <seconds>",
      "how long a step may take, unless those before it took long; then the device counts as hung",
      decimalNumber(0.1, 86_400),
      defaultDeadlines.step,
    )
    .addOption(
      new Option("--log <form>", "default: text on a terminal, else json").choices(["text", "json", "none"]),
    )
    .option("--json", "print one JSON object on standard output when it listens")
    .action(async (options: ServeArguments) => finish(await serve(options, context)));
}

async function serve(options: ServeArguments, context: CliContext): Promise<number> {
  const { model, device, threads, host, port, stop, hang } = options;
  const { signal, stdout, stderr } = context;
  const settings = await settingsOf(options);
  const costs = await costsOf(options.costs);
  const entry = await findModel(model);
  const vocabulary = await readVocabulary(entry.folder);
  // Imported when needed, so that other commands start without the server.
  const { jsonLogger, listen, silentLogger } = await import("../../server/index.ts");
  const form = options.log ?? (stderr.isTerminal ? "text" : "json");
  const write = (line: string) => stderr.write(line);
  const log = form === "text" ? textLogger(write) : form === "json" ? jsonLogger(write) : silentLogger;

  const began = performance.now();
  const engine = await untilAborted(
    context.engine.openApart({
      model,
      device,
      threads,
      costs,
      deadlines: { stop, step: hang, aroundSteps: AROUND_STEPS * hang },
      onProcess: (event) => logProcess(log, event),
    }),
    signal,
  );
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => engine.close());
  const listening = listen(engine, { host, port, settings, vocabulary, log });
  const loaded = duration((performance.now() - began) / 1000);
  if (options.json)
    stdout.write(`${JSON.stringify({ url: listening.url, model: engine.model, device: engine.device })}\n`);
  else stdout.write(`${engine.model} on ${engine.device} at ${listening.url} (loaded in ${loaded})\n`);
  if (!settings.apiKeys && !isLoopback(host))
    log("warn", "everybody who reaches this address may use the server; --api-keys asks for keys");
  await aborted(signal);
  log("info", "stopping", { seconds: options.drain });
  await listening.stop();
  return exitCode.done;
}

function logProcess(log: Logger, event: ProcessEvent): void {
  if (event.type === "started") return log("info", "device process started", { pid: event.pid });
  const { type, reason, backoffSeconds } = event;
  log("error", `device process ${type}`, { error: reason, restartSeconds: backoffSeconds });
}

async function settingsOf(options: ServeArguments): Promise<ServerSettingsInput> {
  const { apiKeys: file, cors, queue, jobsPerKey, maxSteps, maxSize, drain, stop } = options;
  const fromEnvironment = process.env.TAMIAS_API_KEYS;
  const apiKeys = file
    ? await readApiKeys(file)
    : fromEnvironment
      ? parseApiKeys(fromEnvironment.replaceAll(",", "\n"), "TAMIAS_API_KEYS")
      : undefined;
  return {
    ...(apiKeys ? { apiKeys } : {}),
    ...(cors ? { corsOrigins: cors } : {}),
    ...(jobsPerKey === undefined ? {} : { jobsPerKey }),
    queueLength: queue,
    steps: maxSteps,
    pixels: maxSize ** 2,
    drainSeconds: drain,
    stopSeconds: stop,
  };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
