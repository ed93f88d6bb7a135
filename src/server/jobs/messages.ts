import { z } from "zod";
import { pictureFormats } from "../../media/encode-picture.ts";

const share = z.number().min(0).max(1);
const action = z.enum(["dense", "refresh", "delta", "reuse", "skip"]);
const densities = { density: share, attention_density: share, mlp_density: share };
const settings = {
  model: z.string(),
  prompt: z.string(),
  width: z.int(),
  height: z.int(),
  steps: z.int(),
  seed: z.int(),
  guidance: z.number().nullable().meta({ description: "null: the model takes none" }),
  policy: z.string(),
};
const grid = z.tuple([z.int(), z.int(), z.int()]);
const payload = {
  format: z.enum(pictureFormats),
  width: z.int(),
  height: z.int(),
};

/** What a job tells, in the order it can happen. `docs/server.md` describes each. */
export const messageSchema = z
  .discriminatedUnion("type", [
    z
      .object({
        type: z.literal("queued"),
        job: z.string(),
        position: z.int().meta({ description: "jobs before this one; 0 when it is next or running" }),
        eta_seconds: z.number().nullable(),
      })
      .meta({ description: "first in every stream, and again while the job waits" }),
    z.object({
      type: z.literal("start"),
      job: z.string(),
      ...settings,
      device: z.string(),
      image_tokens: z.int(),
      text_tokens: z.int(),
      grid: grid.meta({ description: "frames, rows and columns of image tokens" }),
      notes: z.array(z.string()).meta({ description: "what was asked for and is not used" }),
      queue_seconds: z.number(),
      encode_seconds: z.number(),
    }),
    z.object({
      type: z.literal("step"),
      step: z.int().meta({ description: "0-based" }),
      steps: z.int(),
      sigma: z.number(),
      seconds: z.number(),
      action: action.meta({ description: "the most telling action among the step's layers" }),
      ...densities,
      cells: z
        .array(z.object({ layer: z.int(), module: z.string(), action, density: share }))
        .optional()
        .meta({ description: "what each layer's modules did; with `columns`" }),
      grid: grid.optional().meta({
        description:
          "with `columns`, of steps that ran deltas: the payload is one byte for each image token, frame by frame and row by row, " +
          "0..255 for the share of rows that recomputed this key, the mean over layers",
      }),
    }),
    z
      .object({ type: z.literal("preview"), step: z.int(), ...payload })
      .meta({ description: "an estimate of the finished picture; the payload is the picture" }),
    z
      .object({
        type: z.literal("result"),
        job: z.string(),
        ...settings,
        ...payload,
        ...densities,
        seconds: z.object({
          queue: z.number(),
          encode: z.number(),
          denoise: z.number(),
          decode: z.number(),
          total: z.number(),
        }),
      })
      .meta({ description: "the end: the payload is the picture" }),
    z
      .object({ type: z.literal("cancelled"), job: z.string(), reason: z.string() })
      .meta({ description: "the end: somebody wanted it no more" }),
    z
      .object({
        type: z.literal("error"),
        job: z.string(),
        code: z.string(),
        message: z.string(),
        hint: z.string().optional(),
        retry: z.boolean().meta({ description: "whether the same request may succeed later" }),
      })
      .meta({ description: "the end: it failed" }),
    z.object({ type: z.literal("heartbeat") }).meta({ description: "nothing happened for a while" }),
  ])
  .meta({ id: "Message" });

export type Message = z.output<typeof messageSchema>;
export type MessageOf<Type extends Message["type"]> = Extract<Message, { type: Type }>;

/** The messages after which nothing comes. */
export type LastMessage = MessageOf<"result" | "cancelled" | "error">;

export function isLast(message: Message): message is LastMessage {
  return message.type === "result" || message.type === "cancelled" || message.type === "error";
}
