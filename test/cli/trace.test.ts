import { expect, test } from "bun:test";
import { join } from "node:path";
import { z } from "zod";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const program = join(import.meta.dir, "../../src/cli/main.ts");

/** What Perfetto and Chrome ask of a trace. */
const traceSchema = z.object({
  traceEvents: z.array(
    z.discriminatedUnion("ph", [
      z.object({
        ph: z.literal("M"),
        name: z.enum(["process_name", "thread_name"]),
        pid: z.int(),
        tid: z.int().optional(),
        args: z.object({ name: z.string() }),
      }),
      z.object({
        ph: z.literal("X"),
        name: z.string(),
        cat: z.string(),
        pid: z.int(),
        tid: z.int(),
        ts: z.number(),
        dur: z.number().min(0),
      }),
    ]),
  ),
});

test("generate --trace writes both streams and the threads that feed them", async () => {
  await using folder = await temporaryFolder();
  const trace = join(folder.path, "traces", "trace.json");
  const args = [
    "--model",
    await makeTinyModel(folder.path),
    "--device",
    "cpu",
    "--threads",
    "1",
    "--size",
    "64",
  ];
  const files = ["--out", join(folder.path, "fox.png"), "--trace", trace];
  const child = Bun.spawn(
    [
      process.execPath,
      program,
      "generate",
      "a red fox",
      "--steps",
      "7",
      "--pipeline",
      "overlap",
      ...args,
      ...files,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  expect(await child.exited).toBe(0);
  expect(await child.stderr.text()).toMatch(/trace: .*trace\.json; masks .* beside the denoising, \d+ late/);
  const { traceEvents } = traceSchema.parse(await Bun.file(trace).json());
  const rows = traceEvents.flatMap((event) => (event.name === "thread_name" ? [event] : []));
  expect(rows.map((row) => (row.ph === "M" ? row.args.name : "")).toSorted()).toEqual([
    "compute stream",
    "denoise worker",
    "mask stream",
    "mask worker",
  ]);
  for (const { pid, tid } of rows)
    expect(traceEvents.some((event) => event.ph === "X" && event.pid === pid && event.tid === tid)).toBe(
      true,
    );
});
