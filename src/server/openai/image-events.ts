import { openAiType } from "../http/problem.ts";
import { failureProblem } from "../http/to-problem.ts";
import type { MessageOf } from "../jobs/messages.ts";
import type { Told } from "../wire/follow.ts";
import { sseEvent, toBase64 } from "../wire/sse.ts";
import type { ImageEvent, Quality, Usage } from "./schemas.ts";

const encoder = new TextEncoder();

/** Tells jobs in OpenAI's streaming events. What those have no event for is a comment, which clients pass over. */
export class ImageEvents {
  readonly #about: { output_format: "png" | "jpeg" | "webp"; quality: Quality };
  #partialImages = 0;
  #start: MessageOf<"start"> | undefined;

  constructor(about: { output_format: "png" | "jpeg" | "webp"; quality: Quality }) {
    this.#about = about;
  }

  toBytes({ message, payload = new Uint8Array() }: Told): Uint8Array[] {
    switch (message.type) {
      case "start":
        this.#start = message;
        this.#partialImages = 0;
        return [comment("started")];
      case "preview":
        return [
          imageEvent({
            type: "image_generation.partial_image",
            b64_json: toBase64(payload),
            partial_image_index: this.#partialImages++,
            ...this.#aboutNow(message),
          }),
        ];
      case "result":
        return [
          imageEvent({
            type: "image_generation.completed",
            b64_json: toBase64(payload),
            ...this.#aboutNow(message),
            usage: usageOf(this.#start ? [this.#start] : []),
          }),
        ];
      case "error":
      case "cancelled": {
        const { status, code, message: text } = failureProblem(message);
        const error = { message: text, type: openAiType(status), param: null, code };
        return [sseEvent("error", JSON.stringify({ type: "error", error }))];
      }
      case "step":
        return [comment(`step ${message.step + 1} of ${message.steps}`)];
      case "queued":
        return [comment(`queued, ${message.position} before this one`)];
      case "heartbeat":
        return [comment("still here")];
    }
  }

  #aboutNow({ width, height }: { width: number; height: number }) {
    return {
      created_at: Math.floor(Date.now() / 1000),
      background: "opaque" as const,
      ...this.#about,
      size: `${width}x${height}`,
    };
  }
}

/** Tokens that the transformer worked on, in OpenAI's words. */
export function usageOf(starts: readonly MessageOf<"start">[]): Usage {
  const text = starts.reduce((sum, start) => sum + start.text_tokens, 0);
  const image = starts.reduce((sum, start) => sum + start.image_tokens, 0);
  return {
    input_tokens: text,
    input_tokens_details: { image_tokens: 0, text_tokens: text },
    output_tokens: image,
    total_tokens: text + image,
  };
}

function imageEvent(event: ImageEvent): Uint8Array {
  return sseEvent(event.type, JSON.stringify(event));
}

function comment(text: string): Uint8Array {
  return encoder.encode(`: ${text}\n\n`);
}
