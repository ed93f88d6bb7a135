import { existsSync } from "node:fs";
import { basename } from "node:path";
import { TamiasError } from "../../ffi/errors.ts";
import { findModel } from "../../src/pipeline/models.ts";
import { type BatchJob, type BatchTask, JobReader } from "./job.ts";
import { readLines } from "./read-lines.ts";

const MAX_LINE_BYTES = 2 ** 20;

/** A line's tasks, or what is wrong with it. */
export interface ReadJob {
  readonly line: number;
  readonly outcome: readonly BatchTask[] | TamiasError;
}

/**
 * Reads a jobs file, one JSON object a line, without holding more than a line; or takes jobs as they are.
 * @throws TamiasError `not_found`, `io`, or `bad_input` when there is no job at all
 */
export async function* readJobs(
  jobs: string | Iterable<BatchJob>,
  defaultModel: string,
): AsyncGenerator<ReadJob> {
  const reader = new JobReader(defaultModel);
  const found = new Set<string>();
  let count = 0;
  const settle = async (line: number, read: () => BatchTask[]): Promise<ReadJob> => {
    count++;
    try {
      const tasks = read();
      const model = tasks[0]!.model;
      if (!found.has(model)) await findModel(model);
      found.add(model);
      return { line, outcome: tasks };
    } catch (error) {
      if (error instanceof TamiasError) return { line, outcome: error };
      throw error;
    }
  };

  if (typeof jobs !== "string") {
    for (const job of jobs) yield await settle(count + 1, () => reader.check(job, count));
    if (count === 0) throw new TamiasError("bad_input", "There are no jobs.");
    return;
  }
  if (!existsSync(jobs)) throw new TamiasError("not_found", `There is no jobs file ${jobs}.`);
  try {
    for await (const { number, text, fault } of readLines(jobs, MAX_LINE_BYTES)) {
      if (text?.trim() === "") continue;
      yield await settle(number, () => {
        if (text === undefined) throw new TamiasError("bad_input", faults[fault!]);
        return reader.read(number === 1 ? text.replace(/^\uFEFF/, "") : text, number);
      });
    }
  } catch (cause) {
    if (cause instanceof TamiasError) throw cause;
    throw new TamiasError("io", `${jobs} cannot be read (${(cause as Error).message}).`, { cause });
  }
  if (count === 0)
    throw new TamiasError("bad_input", `${basename(jobs)} holds no job.`, {
      hint: 'A job is a JSON object on a line of its own, such as {"prompt": "a red fox"}.',
    });
}

const faults = {
  "too long": `This line is longer than ${MAX_LINE_BYTES / 2 ** 20} MiB; a job is one JSON object on one line.`,
  "not UTF-8": "This line is not UTF-8 text.",
} as const;
