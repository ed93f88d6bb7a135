import { arch, cpus } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { benchCosts } from "../../bench/costs.ts";
import { benchKernels, type KernelRow, kernelSets } from "../../bench/kernels/index.ts";
import {
  benchModel,
  benchModelNames,
  benchWholeModel,
  type ModelBench,
  type StepTime,
  type StepTimes,
  type WholeModelBench,
} from "../../bench/models/index.ts";
import { TamiasError } from "../../../ffi/errors.ts";
import { writeFileAtomically } from "../../media/atomic-write.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import type { CliContext } from "../context.ts";
import { deviceOption } from "../device-option.ts";
import { exitCode } from "../exit-code.ts";
import { table } from "../format.ts";
import { version } from "../../version.ts";

interface BenchArguments {
  readonly device: NonNullable<OpenOptions["device"]>;
  readonly out?: string;
  readonly json?: boolean;
  readonly sets?: string[];
  readonly pipeline?: NonNullable<OpenOptions["pipeline"]>;
  readonly whole?: boolean;
  readonly memory?: number;
  readonly hostMemory?: number;
  readonly layers?: number;
  readonly tokens?: number;
}

/** `tamias bench kernels`, `model NAME` and `costs`: what the kernels, a step and deltas take here. */
export function benchCommand(context: CliContext, finish: (code: number) => void): Command {
  const bench = new Command("bench").description("Time the kernels, or a model's step at full shape");
  const withOptions = (command: Command) =>
    command
      .addOption(deviceOption())
      .option("--out <file.json>", "write the rows and the machine they were measured on")
      .option("--json", "print one JSON object on standard output");
  bench.addCommand(
    withOptions(new Command("kernels"))
      .description("Each kernel at the published models' shapes, against the dense one beside it")
      .addOption(new Option("--sets <sets...>", "which models' shapes").choices([...kernelSets]))
      .action(async (options: BenchArguments) => finish(await kernels(options, context))),
  );
  bench.addCommand(
    withOptions(new Command("model"))
      .description("One denoising step with random weights: dense, refresh and delta")
      .argument("<model>", benchModelNames.join(", "))
      .addOption(
        new Option("--pipeline <order>", "masks beside the denoising, or in turn").choices([
          "overlap",
          "serial",
        ]),
      )
      .option("--random-weights", "the only weights this knows; accepted so that scripts can say so")
      .option(
        "--whole",
        "run all layers for a few steps, with attention deltas, in memory planned beforehand",
      )
      .option("--memory <bytes>", "with --whole: device memory to plan for; default: what is free", amount)
      .option("--host-memory <bytes>", "with --whole: pinned host memory to plan for", amount)
      .option("--layers <number>", "with --whole: another number of layers", count)
      .option("--tokens <number>", "with --whole: another number of tokens, text included", count)
      .action(async (model: string, options: BenchArguments) =>
        finish(await (options.whole ? whole : step)(model, options, context)),
      ),
  );
  bench.addCommand(
    new Command("costs")
      .description("What deltas cost on this machine, for the cost model that decides where they run")
      .addOption(deviceOption())
      .option("--out <file.json>", "write them, for --costs")
      .option("--json", "print one JSON object on standard output")
      .action(async (options: BenchArguments) => finish(await costs(options, context))),
  );
  return bench;
}

async function costs({ device, out, json }: BenchArguments, context: CliContext): Promise<number> {
  const measured = await benchCosts({ device });
  const document = `${JSON.stringify(measured, null, 2)}\n`;
  if (out) await writeFileAtomically(out, new TextEncoder().encode(document));
  const { attention, mlp } = measured;
  const billions = (operations: number) => (operations / 1e9).toPrecision(3);
  const rows = [
    ["delta of", "a column, of a dense one's time", "choosing, of dense", "besides, 1e9 operations"],
    ["attention", attention.gather.toFixed(2), "", billions(attention.overheadOperations)],
    ["MLP", mlp.gather.toFixed(2), mlp.selection.toFixed(3), billions(mlp.overheadOperations)],
  ];
  context.stdout.write(json ? document : `${measured.device}\n${table(rows)}`);
  return exitCode.done;
}

async function kernels({ device, sets, ...output }: BenchArguments, context: CliContext): Promise<number> {
  const { rows, device: name } = await benchKernels({ device }, sets, (row) =>
    context.stderr.write(`${kernelCells(row).slice(0, 4).join("  ")}\n`),
  );
  return deliver(context, output, { device: name, rows }, table([kernelHead, ...rows.map(kernelCells)]));
}

async function step(
  model: string,
  { device, pipeline, memory, hostMemory, layers, tokens, ...output }: BenchArguments,
  context: CliContext,
): Promise<number> {
  if ([memory, hostMemory, layers, tokens].some((value) => value !== undefined))
    throw new TamiasError("bad_input", "--memory, --host-memory, --layers and --tokens need --whole.");
  const result = await benchModel({ device, pipeline }, model);
  return deliver(context, output, result, modelTable(result));
}

async function whole(
  model: string,
  { device, memory, hostMemory, layers, tokens, ...output }: BenchArguments,
  context: CliContext,
): Promise<number> {
  const result = await benchWholeModel({ device }, model, { memory, hostMemory, layers, tokens });
  return deliver(context, output, result, wholeTable(result));
}

/** Bytes, as a number or with a unit: 80e9, 80GB, 75GiB. */
function amount(text: string): number {
  const [, digits = "", unit = ""] = /^([\d.]+(?:e\d+)?)\s*([kMGT]i?B)?$/.exec(text) ?? [];
  const base = unit.includes("i") ? 1024 : 1000;
  const bytes = Number(digits) * base ** (unit ? "kMGT".indexOf(unit[0]!) + 1 : 0);
  if (digits === "" || !Number.isFinite(bytes))
    throw new InvalidArgumentError(`"${text}" is no amount of memory, such as 80GB or 75GiB.`);
  return bytes;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError(`"${text}" is no whole number above 0.`);
  return Number(text);
}

async function deliver(
  context: CliContext,
  { out, json }: Pick<BenchArguments, "out" | "json">,
  result: object,
  text: string,
): Promise<number> {
  const document = `${JSON.stringify({ machine: machine(), ...result }, null, 2)}\n`;
  if (out) await writeFileAtomically(out, new TextEncoder().encode(document));
  context.stdout.write(json ? document : text);
  return exitCode.done;
}

function machine() {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    architecture: arch(),
    bun: Bun.version,
    tamias: version,
    date: new Date().toISOString().slice(0, 10),
  };
}

const kernelHead = ["kernel", "shape", "density", "ms", "TFLOP/s", "GB/s", "x dense", "efficiency", "error"];

function kernelCells(row: KernelRow): string[] {
  const digits = (value: number | undefined) => value?.toPrecision(3) ?? "";
  return [
    row.kernel,
    row.shape,
    `${(row.density * 100).toFixed(1)} %`,
    row.milliseconds.toPrecision(4),
    digits(row.teraflops),
    digits(row.gigabytesPerSecond),
    digits(row.speedUp),
    digits(row.efficiency),
    row.error?.toExponential(1) ?? "",
  ];
}

function maskLines(masks: NonNullable<StepTimes["masks"]>): string {
  return (["refresh", "delta"] as const)
    .map((kind) => {
      const { seconds, hiddenShare, late } = masks[kind];
      const hidden = (hiddenShare * 100).toFixed(1);
      return `masks of a ${kind} step: ${(seconds * 1e3).toPrecision(3)} ms, ${hidden} % of it beside the first stream, ${late} late\n`;
    })
    .join("");
}

function modelTable({ title, device, times }: ModelBench): string {
  const line = (name: string, { deviceSeconds, queueSeconds, wallSeconds }: StepTime, density: number) => [
    name,
    `${(density * 100).toFixed(1)} %`,
    (deviceSeconds * 1e3).toPrecision(4),
    (wallSeconds * 1e3).toPrecision(4),
    (queueSeconds * 1e3).toPrecision(3),
    `${(Math.max(0, 1 - deviceSeconds / wallSeconds) * 100).toFixed(1)} %`,
    (times.dense.deviceSeconds / deviceSeconds).toFixed(2),
  ];
  const memory = (times.bytesAllocated / 2 ** 30).toFixed(1);
  return `${title}, random weights, on ${device}; ${memory} GiB held\n${table([
    ["step", "density", "device ms", "wall ms", "queueing ms", "idle", "x dense"],
    line("dense", times.dense, 1),
    line("refresh", times.refresh, 1),
    line("delta", times.delta, times.delta.density),
  ])}${times.masks ? maskLines(times.masks) : ""}`;
}

function wholeTable({ title, device, layers, tokens, bytes, places, steps }: WholeModelBench): string {
  const gigabytes = (value: number) => (value / 1e9).toFixed(2);
  const dense = steps[0]?.seconds ?? 0;
  const rows = steps.map(({ action, seconds, attentionDensity, transfers }) => [
    action,
    `${(attentionDensity * 100).toFixed(1)} %`,
    seconds.toPrecision(4),
    (dense / seconds).toFixed(2),
    transfers ? gigabytes(transfers.bytes) : "",
    transfers ? transfers.secondsWaited.toPrecision(3) : "",
  ]);
  return (
    `${title}: ${layers} layers, ${tokens} tokens, random weights, on ${device}\n` +
    `GB: ${gigabytes(bytes.held)} held of ${gigabytes(bytes.allowed)} allowed (weights ${gigabytes(bytes.weights)}, ` +
    `caches ${gigabytes(bytes.plannedDevice)}), ${gigabytes(bytes.heldHost)} on the host\n` +
    `attention caches: ${places.device} on the device, ${places.host} on the host\n` +
    `${table([["step", "attention", "seconds", "x dense", "GB moved", "s waited"], ...rows])}`
  );
}
