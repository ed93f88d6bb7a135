import { z } from "zod";
import { TamiasError } from "../../../ffi/errors.ts";
import type { ColumnPolicySettings } from "../../delta/column-policy.ts";
import { findPolicy, policies } from "../../delta/policies/index.ts";
import { pictureFormats } from "../../media/encode-picture.ts";
import { DEFAULT_POLICY, generateSchema as request, requestLimits } from "../../pipeline/options.ts";
import type { Engine } from "../engine.ts";
import { type Complaint, noneOf, quoted } from "../http/validation.ts";
import { priorities } from "../jobs/job.ts";
import type { ServerSettings } from "../settings.ts";

const fields = request.shape;

export const policyNames = policies.map(({ name }) => name);

/** Pictures that may come on the way; more would cost more than they show. */
export const MOST_PREVIEWS = 100;

/** The fields that requests of every dialect share, within what this server and its model allow. */
export function sharedFields(engine: Engine, settings: ServerSettings) {
  return {
    prompt: fields.prompt
      .max(settings.promptCharacters, `must have at most ${settings.promptCharacters} characters`)
      .meta({ example: "3d render of a fox on a sky blue background" }),
    side: side(engine.sizes?.multiple ?? 1),
    steps: fields.steps.unwrap().max(settings.steps),
    seed: fields.seed.meta({
      description: "the same seed gives the same picture; default: random, told in `start`",
    }),
    guidance: fields.guidance,
    policy: policyField,
  };
}

function side(multiple: number) {
  const nearest = (pixels: unknown): string => {
    if (typeof pixels !== "number") return `must be a multiple of ${multiple}`;
    const below = Math.max(multiple, pixels - (pixels % multiple));
    return `${pixels} is not a multiple of ${multiple}; the nearest are ${below} and ${below + multiple}`;
  };
  return z
    .int()
    .min(Math.max(requestLimits.side.least, multiple))
    .max(requestLimits.side.most)
    .multipleOf(multiple, { error: ({ input }) => nearest(input) });
}

const policyField = z
  .union([z.string(), z.record(z.string(), z.unknown())], {
    error: ({ input }) => `${quoted(input)} is neither a policy's name nor settings`,
  })
  .superRefine((asked, context) => {
    const complaint = policyComplaint(asked);
    if (complaint) context.addIssue({ code: "custom", ...complaint });
  })
  // findPolicy has checked the settings.
  .transform((asked) => asked as string | ColumnPolicySettings)
  .meta({
    description: `${policyNames.join(", ")}, or settings of column deltas`,
    example: "balanced",
  });

function policyComplaint(asked: string | Record<string, unknown>): Complaint | undefined {
  try {
    findPolicy(asked);
    return undefined;
  } catch (error) {
    if (!(error instanceof TamiasError)) throw error;
    return typeof asked === "string"
      ? noneOf(asked, policyNames)
      : { message: error.message.replace(/^policy /, "") };
  }
}

/** Steps of a request that does not say. */
export function defaultSteps({ defaults }: Engine, settings: ServerSettings): number {
  return Math.min(defaults.steps, settings.steps);
}

/** The word metrics count a policy by. */
export function policyWord(policy: string | ColumnPolicySettings): string {
  return typeof policy === "string" ? policy : "custom";
}

/** The body of `POST /v1/generate`. */
export function generateSchema(engine: Engine, settings: ServerSettings) {
  const { prompt, side: sideField, steps, seed, guidance, policy } = sharedFields(engine, settings);
  const native = engine.sizes?.native;
  return z
    .strictObject({
      model: z.string().optional().meta({ example: engine.model }),
      prompt,
      width: sideField.optional().meta({ description: `pixels; default: ${native ?? "the model's own"}` }),
      height: sideField.optional(),
      steps: steps.default(defaultSteps(engine, settings)),
      seed,
      guidance,
      policy: policy.default(DEFAULT_POLICY),
      previews: z.int().min(0).max(MOST_PREVIEWS).default(3).meta({
        description: "estimates on the way: one after the first step, the others spread evenly",
      }),
      preview_format: z.enum(pictureFormats).default("jpeg"),
      output_format: z.enum(pictureFormats).default("png"),
      output_quality: z.int().min(0).max(100).default(90).meta({ description: "of JPEG and WebP" }),
      columns: z.boolean().default(false).meta({
        description: "adds to each step what its layers did and which image keys were recomputed",
      }),
      priority: z.enum(priorities).default("normal"),
      detach: z.boolean().default(false).meta({ description: "answer 202 at once; the job goes on alone" }),
      on_disconnect: z.enum(["cancel", "continue"]).default("cancel").meta({
        description: "what becomes of the job when this connection ends",
      }),
    })
    .superRefine(({ width, height }, context) => {
      const pixels = (width ?? height ?? native ?? 0) * (height ?? width ?? native ?? 0);
      if (pixels > settings.pixels)
        context.addIssue({
          code: "custom",
          path: ["width"],
          message: `width times height is ${pixels}; this server allows ${settings.pixels}`,
        });
    })
    .meta({ id: "GenerateRequest" });
}

export type GenerateBody = z.output<ReturnType<typeof generateSchema>>;

/**
 * The steps (0-based) that are followed by an estimate: the first, so that something shows early, and others spread
 * evenly. The last step has the result instead.
 */
export function previewSteps(count: number, steps: number): number[] {
  const previews = Math.min(count, steps - 1);
  return Array.from({ length: previews }, (_, at) => Math.floor((at * steps) / previews));
}
