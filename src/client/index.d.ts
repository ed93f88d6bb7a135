/** A picture to ask for; every field but `prompt` has a default. `docs/server.md` tells them all. */
export interface GenerateRequest {
  prompt: string;
  model?: string;
  width?: number;
  height?: number;
  steps?: number;
  seed?: number;
  guidance?: number;
  policy?: string | Record<string, unknown>;
  previews?: number;
  preview_format?: PictureFormat;
  output_format?: PictureFormat;
  output_quality?: number;
  columns?: boolean;
  priority?: "low" | "normal" | "high";
  on_disconnect?: "cancel" | "continue";
}

export type PictureFormat = "png" | "jpeg" | "webp" | "rgb";
export type StepAction = "dense" | "refresh" | "delta" | "reuse" | "skip";

interface Settings {
  model: string;
  prompt: string;
  width: number;
  height: number;
  steps: number;
  seed: number;
  guidance: number | null;
  policy: string;
}

interface Densities {
  density: number;
  attention_density: number;
  mlp_density: number;
}

export type Message =
  | { type: "queued"; job: string; position: number; eta_seconds: number | null }
  | ({
      type: "start";
      job: string;
      device: string;
      image_tokens: number;
      text_tokens: number;
      grid: [frames: number, rows: number, columns: number];
      notes: string[];
      queue_seconds: number;
      encode_seconds: number;
    } & Settings)
  | ({
      type: "step";
      /** 0-based. */
      step: number;
      steps: number;
      sigma: number;
      seconds: number;
      action: StepAction;
      cells?: { layer: number; module: string; action: StepAction; density: number }[];
      grid?: [frames: number, rows: number, columns: number];
      /** One byte for each image token: how many rows recomputed this key. */
      payload?: Uint8Array<ArrayBuffer>;
    } & Densities)
  | {
      type: "preview";
      step: number;
      format: PictureFormat;
      width: number;
      height: number;
      payload: Uint8Array<ArrayBuffer>;
    }
  | ({
      type: "result";
      job: string;
      format: PictureFormat;
      payload: Uint8Array<ArrayBuffer>;
      seconds: { queue: number; encode: number; denoise: number; decode: number; total: number };
    } & Settings &
      Densities)
  | { type: "cancelled"; job: string; reason: string }
  | { type: "error"; job: string; code: string; message: string; hint?: string; retry: boolean }
  | { type: "heartbeat" };

export interface ClientOptions {
  /** Default: http://127.0.0.1:8787 */
  url?: string;
  apiKey?: string;
  /** Sent besides the client's own, for instance `Idempotency-Key`. */
  headers?: Record<string, string>;
  /** Stops the request; the server cancels the job within one step. */
  signal?: AbortSignal;
}

/** The server's answer to a request it did not take. */
export class TamiasRequestError extends Error {
  readonly status: number;
  /** `application/problem+json`, where the server sent it. */
  readonly problem: { code: string; detail: string; [key: string]: unknown } | undefined;
  constructor(status: number, problem: TamiasRequestError["problem"]);
}

/**
 * Asks for a picture, and tells each message as it comes. Leaving the loop ends the request.
 * @throws TamiasRequestError when the server does not take it
 */
export function generate(
  request: GenerateRequest,
  options?: ClientOptions,
): AsyncGenerator<Message, void, void>;

/** Reads the frames of a response's body. */
export function readMessages(stream: ReadableStream<Uint8Array>): AsyncGenerator<Message, void, void>;
