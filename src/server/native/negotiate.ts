import type { Context } from "hono";
import { accepts } from "hono/accepts";
import { mediaTypes, type PictureFormat } from "../../media/encode-picture.ts";
import { FRAMES_TYPE } from "../wire/frames.ts";
import { SSE_TYPE } from "../wire/sse.ts";

/** How a request wants to be told: as it happens, or at the end. */
export type AnswerKind = "frames" | "events" | "json" | Exclude<PictureFormat, "rgb">;

const kinds: Readonly<Record<string, AnswerKind>> = {
  [FRAMES_TYPE]: "frames",
  [SSE_TYPE]: "events",
  "application/json": "json",
  [mediaTypes.png]: "png",
  [mediaTypes.jpeg]: "jpeg",
  [mediaTypes.webp]: "webp",
};

/** By the Accept header; frames where it does not say. */
export function negotiate(context: Context): AnswerKind {
  const type = accepts(context, {
    header: "Accept",
    supports: Object.keys(kinds),
    default: FRAMES_TYPE,
  });
  return kinds[type] ?? "frames";
}
