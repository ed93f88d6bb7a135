import { z } from "zod";
import type { Engine } from "../engine.ts";
import { MOST_PREVIEWS, sharedFields } from "../native/request-schemas.ts";
import type { ServerSettings } from "../settings.ts";

/** OpenAI's quality, in this server's policies. */
export const policyOfQuality = {
  auto: "balanced",
  low: "fast",
  medium: "balanced",
  standard: "balanced",
  high: "exact",
  hd: "exact",
  xhigh: "exact",
  max: "exact",
} as const;
export type Quality = keyof typeof policyOfQuality;

const qualities = Object.keys(policyOfQuality) as Quality[];

/** The body of `POST /v1/images/generations`: OpenAI's fields, and those that open models add. */
export function generationsSchema(engine: Engine, settings: ServerSettings) {
  const { prompt, side, steps, seed, guidance, policy } = sharedFields(engine, settings);
  const size = z
    .string()
    .max(20)
    .refine(
      (text) => text === "auto" || /^\d{1,5}x\d{1,5}$/.test(text),
      'must be "auto" or "<width>x<height>"',
    )
    .superRefine((text, context) => {
      const sides = parseSize(text);
      if (!sides) return;
      for (const pixels of sides) {
        const issue = side.safeParse(pixels).error?.issues[0];
        if (issue) context.addIssue({ code: "custom", message: issue.message });
      }
      if (sides[0] * sides[1] > settings.pixels)
        context.addIssue({
          code: "custom",
          message: `has more pixels than the ${settings.pixels} this server allows`,
        });
    });
  return z
    .strictObject({
      prompt,
      model: z.string().nullish().meta({ example: engine.model }),
      n: z.int().min(1).max(10).nullish(),
      size: size.nullish().meta({ example: "512x512" }),
      quality: z.enum(qualities).nullish().meta({
        description: "low is the policy `fast`, medium `balanced`, high `exact`; `policy` overrides it",
      }),
      stream: z.boolean().nullish(),
      partial_images: z.int().min(0).max(MOST_PREVIEWS).nullish().meta({
        description:
          "estimates on the way, the first after the first step; OpenAI allows 3, this server more",
      }),
      output_format: z.enum(["png", "jpeg", "webp"]).nullish(),
      output_compression: z.int().min(0).max(100).nullish(),
      response_format: z.literal("b64_json", { error: "this server answers with b64_json only" }).nullish(),
      background: z.enum(["auto", "opaque"]).nullish(),
      moderation: z.enum(["auto", "low"]).nullish().meta({ description: "taken and ignored" }),
      style: z.enum(["vivid", "natural"]).nullish().meta({ description: "taken and ignored" }),
      user: z.string().max(512).nullish().meta({ description: "taken and ignored" }),
      seed: seed.nullable(),
      num_inference_steps: steps.nullish(),
      // This dialect has no place to say that it is not used.
      guidance_scale:
        engine.defaults.guidance === null
          ? z.null({ error: `${engine.model} takes no guidance` }).optional()
          : guidance.nullable(),
      policy: policy.nullish(),
    })
    .meta({ id: "ImageGenerationRequest" });
}

export type GenerationsBody = z.output<ReturnType<typeof generationsSchema>>;

/** undefined for `auto`, whose sides are the model's own. */
export function parseSize(size: string | null | undefined): [width: number, height: number] | undefined {
  if (!size || !size.includes("x")) return undefined;
  const [width = 0, height = 0] = size.split("x").map(Number);
  return [width, height];
}

const usage = z.object({
  input_tokens: z.int(),
  input_tokens_details: z.object({ image_tokens: z.int(), text_tokens: z.int() }),
  output_tokens: z.int(),
  total_tokens: z.int(),
});
export type Usage = z.output<typeof usage>;

const about = {
  background: z.literal("opaque"),
  output_format: z.enum(["png", "jpeg", "webp"]),
  quality: z.enum(qualities),
  size: z.string(),
};

export const imagesResponseSchema = z
  .object({
    created: z.int(),
    data: z.array(z.object({ b64_json: z.string() })),
    ...about,
    usage,
  })
  .meta({ id: "ImagesResponse" });

export const imageEventSchema = z
  .discriminatedUnion("type", [
    z.object({
      type: z.literal("image_generation.partial_image"),
      b64_json: z.string(),
      partial_image_index: z.int(),
      created_at: z.int(),
      ...about,
    }),
    z.object({
      type: z.literal("image_generation.completed"),
      b64_json: z.string(),
      created_at: z.int(),
      ...about,
      usage,
    }),
  ])
  .meta({ id: "ImageStreamEvent" });
export type ImageEvent = z.output<typeof imageEventSchema>;
