import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import { findPolicy } from "../../src/delta/policies/index.ts";
import { badOptions, type GenerateOptions, generateSchema } from "../../src/pipeline/options.ts";

const MAX_PICTURES = 10_000;

const { prompt, width, height, steps, seed, guidance, policy } = generateSchema.shape;

/** A line of a jobs file: the options of `generate`, and what names and multiplies them. */
const jobSchema = z
  .strictObject({
    id: z
      .string()
      .regex(
        /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/,
        "must be a file's name: up to 100 letters, digits, dots, - and _",
      )
      .optional(),
    model: z.string().min(1).optional(),
    prompt,
    size: width,
    width,
    height,
    steps,
    seed,
    guidance,
    policy,
    n: z.int().min(1).max(MAX_PICTURES).default(1),
  })
  .refine(({ size, width: w, height: h }) => size === undefined || (w ?? h) === undefined, {
    path: ["size"],
    message: "stands for width and height, which must not be given besides",
  });

/** What a jobs file may hold, one a line. */
export type BatchJob = z.input<typeof jobSchema>;
type CheckedJob = z.output<typeof jobSchema>;

/** One picture to be made; all that a worker must know. */
export interface BatchTask {
  /** Names the picture's file, and stays the same when the same jobs are read again. */
  readonly id: string;
  /** Line of the jobs file, 1-based. */
  readonly line: number;
  readonly model: string;
  readonly options: Omit<GenerateOptions, "signal" | "previewEvery" | "recordColumns" | "seed"> & {
    readonly seed: number;
  };
}

/** Turns jobs into tasks. Ids and seeds that a job leaves out follow from its content, so that a batch can be repeated. */
export class JobReader {
  readonly #defaultModel: string;
  /** How often a job without id has been seen, by its content. */
  readonly #seen = new Map<string, number>();

  constructor(defaultModel: string) {
    this.#defaultModel = defaultModel;
  }

  /** @throws TamiasError `bad_input` or `not_found` */
  read(text: string, line: number): BatchTask[] {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new TamiasError("bad_input", `This is not JSON (${(cause as Error).message}).`, { cause });
    }
    return this.check(value, line);
  }

  /** @throws TamiasError `bad_input` or `not_found` */
  check(value: unknown, line: number): BatchTask[] {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new TamiasError("bad_input", 'A job is a JSON object, such as {"prompt": "a red fox"}.');
    const checked = jobSchema.safeParse(value);
    if (!checked.success) throw badOptions(checked.error);
    findPolicy(checked.data.policy);
    return this.#tasks(checked.data, line);
  }

  #tasks(job: CheckedJob, line: number): BatchTask[] {
    const { id: _, model = this.#defaultModel, n, size, seed: firstSeed, ...rest } = job;
    const id = job.id ?? this.#contentId(JSON.stringify({ ...job, model }));
    const options = { ...rest, width: rest.width ?? size, height: rest.height ?? size };
    const first = firstSeed ?? Number.parseInt(hexDigest(id).slice(0, 8), 16);
    return Array.from({ length: n }, (_unused, index) => ({
      id: n === 1 ? id : `${id}-${index + 1}`,
      line,
      model,
      options: { ...options, policy: options.policy as GenerateOptions["policy"], seed: first + index },
    }));
  }

  #contentId(content: string): string {
    const digest = hexDigest(content).slice(0, 12);
    const count = (this.#seen.get(digest) ?? 0) + 1;
    this.#seen.set(digest, count);
    return count === 1 ? digest : `${digest}.${count}`;
  }
}

export function hexDigest(content: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(content).digest("hex");
}
