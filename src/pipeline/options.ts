import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import type { ColumnPolicySettings } from "../delta/column-policy.ts";

export const MAX_PROMPT_CHARACTERS = 4000;

const size = z.int("must be a whole number of pixels").min(16).max(8192);

export const generateSchema = z.strictObject({
  prompt: z
    .string()
    .max(MAX_PROMPT_CHARACTERS, {
      error: (issue) =>
        `has ${(issue.input as string).length} characters; at most ${MAX_PROMPT_CHARACTERS} are allowed`,
    })
    .refine((text) => text.trim().length > 0, "must not be empty"),
  width: size.optional(),
  height: size.optional(),
  steps: z.int().min(1).max(1000).default(20),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  guidance: z.number().min(0).max(100).optional(),
  policy: z.union([z.string(), z.record(z.string(), z.unknown())]).default("balanced"),
  previewEvery: z.int().min(0).max(1000).default(0),
  previewSteps: z.array(z.int().min(0).max(999)).max(1000).default([]),
  recordColumns: z.boolean().default(false),
  trace: z.boolean().default(false),
  signal: z.instanceof(AbortSignal).optional(),
});

export interface GenerateOptions {
  readonly prompt: string;
  /** Pixels; a multiple of what the model asks for. Default: the model's own size. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Denoising steps, 1..1000; default 20. */
  readonly steps?: number | undefined;
  /** Whole number >= 0; default: drawn at random and told in `start`. */
  readonly seed?: number | undefined;
  /** Guidance scale of guidance-distilled models; default: the model's recommendation. */
  readonly guidance?: number | undefined;
  /** `exact`, `chipmunk`, `balanced` (default), `fast`, or settings of column deltas. */
  readonly policy?: string | ColumnPolicySettings | undefined;
  /** A preview after every so many steps; 0 (default) gives none. */
  readonly previewEvery?: number | undefined;
  /** 0-based steps that are to be followed by a preview, besides those of `previewEvery`. */
  readonly previewSteps?: readonly number[] | undefined;
  /** Adds to each step which columns were recomputed (reads masks back; a little slower). */
  readonly recordColumns?: boolean | undefined;
  /** Tells at the end when each op of both streams ran (a little slower). */
  readonly trace?: boolean | undefined;
  /** Stops within one step with a TamiasError `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

export type CheckedOptions = z.output<typeof generateSchema>;

/**
 * Checks a request's options.
 * @throws TamiasError `bad_input` naming the option, its value and what is allowed
 */
export function checkOptions(options: GenerateOptions): CheckedOptions {
  const checked = generateSchema.safeParse(options);
  if (checked.success) return checked.data;
  throw badOptions(checked.error);
}

/** What is wrong with options, told of the first of them. */
export function badOptions({ issues: [issue] }: z.ZodError): TamiasError {
  const name = issue?.path.join(".") ?? "";
  return new TamiasError(
    "bad_input",
    name ? `${name}: ${issue?.message}.` : `The options are not understood: ${issue?.message}.`,
  );
}
