import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import type { ColumnPolicySettings } from "../delta/column-policy.ts";

/** What any request may ask for, whatever the model; CLI, library, batch and server share it. */
export const requestLimits = {
  promptCharacters: 4000,
  /** Pixels. */
  side: { least: 16, most: 8192 },
  steps: { least: 1, most: 1000 },
  guidance: { least: 0, most: 100 },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER },
} as const;

/** Used where a request names none. */
export const DEFAULT_POLICY = "balanced";

function within(schema: z.ZodNumber, { least, most }: { readonly least: number; readonly most: number }) {
  return schema.min(least).max(most);
}

const side = within(z.int("must be a whole number of pixels"), requestLimits.side);
const stepIndex = z
  .int()
  .min(0)
  .max(requestLimits.steps.most - 1);

export const generateSchema = z.strictObject({
  prompt: z
    .string()
    .max(requestLimits.promptCharacters, {
      error: (issue) =>
        `has ${(issue.input as string).length} characters; at most ${requestLimits.promptCharacters} are allowed`,
    })
    .refine((text) => text.trim().length > 0, "must not be empty")
    .refine((text) => text.isWellFormed(), "has half of a surrogate pair: it is not valid Unicode"),
  width: side.optional(),
  height: side.optional(),
  steps: within(z.int(), requestLimits.steps).optional(),
  seed: within(z.int(), requestLimits.seed).optional(),
  guidance: within(z.number(), requestLimits.guidance).optional(),
  policy: z.union([z.string(), z.record(z.string(), z.unknown())]).default(DEFAULT_POLICY),
  previewEvery: z.int().min(0).max(requestLimits.steps.most).default(0),
  previewSteps: z.array(stepIndex).max(requestLimits.steps.most).default([]),
  recordColumns: z.boolean().default(false),
  trace: z.boolean().default(false),
  signal: z.instanceof(AbortSignal).optional(),
});

export interface GenerateOptions {
  readonly prompt: string;
  /** Pixels; a multiple of what the model asks for. Default: the model's own size. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Denoising steps, 1..1000; default: what the checkpoint was made for. */
  readonly steps?: number | undefined;
  /** Whole number >= 0; default: drawn at random and told in `start`. */
  readonly seed?: number | undefined;
  /** Guidance scale; default: the model's own. A model without guidance does not use it, and `start` says so. */
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
