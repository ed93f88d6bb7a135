import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import type { ServerEnv } from "../http/context.ts";
import { explain, responses } from "../http/documented.ts";
import { Problem } from "../http/problem.ts";
import { failureProblem } from "../http/to-problem.ts";
import type { Job, JobRequest } from "../jobs/job.ts";
import type { Message, MessageOf } from "../jobs/messages.ts";
import { checkModel } from "../models/check-model.ts";
import { fingerprint } from "../native/fingerprint.ts";
import { idempotencyHeader } from "../native/generate.ts";
import { defaultSteps, policyWord, previewSteps } from "../native/request-schemas.ts";
import type { Service } from "../service.ts";
import { respondLive, untilEnded } from "../wire/respond.ts";
import { SSE_TYPE, toBase64 } from "../wire/sse.ts";
import { ImageEvents, usageOf } from "./image-events.ts";
import {
  type GenerationsBody,
  generationsSchema,
  imageEventSchema,
  imagesResponseSchema,
  parseSize,
  policyOfQuality,
} from "./schemas.ts";

const tags = ["OpenAI"];

/** `POST /v1/images/generations`, as OpenAI's clients speak it. */
export function addImages(app: OpenAPIHono<ServerEnv>, service: Service): void {
  const { engine, jobs, settings } = service;
  const schema = generationsSchema(engine, settings);
  const route = createRoute({
    method: "post",
    path: "/v1/images/generations",
    tags,
    summary: "Make pictures, in OpenAI's dialect",
    request: {
      headers: idempotencyHeader,
      body: { required: true, content: { "application/json": { schema } } },
    },
    responses: responses(
      {
        200: {
          description: "pictures, or with `stream` the events in which they form",
          content: {
            "application/json": { schema: imagesResponseSchema },
            [SSE_TYPE]: { schema: imageEventSchema },
          },
        },
      },
      [400, 401, 404, 409, 413, 415, 429, 503, 504],
    ),
  });
  app.openapi(
    route,
    async (c) => {
      const body = c.req.valid("json");
      checkModel(engine, body.model ?? undefined);
      const key = c.req.valid("header")["idempotency-key"];
      const submitted = jobs.submit(toRequests(body, service), {
        owner: c.get("owner"),
        idempotency: key === undefined ? undefined : { key, fingerprint: await fingerprint(c) },
      });
      return answer(c, service, body, submitted);
    },
    explain(Object.keys(schema.shape)),
  );

  for (const verb of ["edits", "variations"])
    app.openapi(
      createRoute({
        method: "post",
        path: `/v1/images/${verb}`,
        tags,
        summary: `Refused: no model of this server makes ${verb}`,
        responses: responses({}, [400, 401, 413]),
      }),
      () => {
        throw new Problem(
          400,
          "unsupported",
          `${engine.model} makes pictures from text only; it makes no ${verb}.`,
          {
            hint: "Use /v1/images/generations.",
          },
        );
      },
    );
}

/** One job for each picture; the second and later start from the seeds that follow. */
function toRequests(body: GenerationsBody, { engine, settings }: Service): JobRequest[] {
  const native = engine.sizes?.native;
  const [width, height] = parseSize(body.size) ?? [native, native];
  const steps = body.num_inference_steps ?? defaultSteps(engine, settings);
  const policy = body.policy ?? policyOfQuality[body.quality ?? "auto"];
  const encoding = { format: body.output_format ?? "png", quality: body.output_compression ?? 90 } as const;
  return Array.from({ length: body.n ?? 1 }, (_, at) => ({
    options: {
      prompt: body.prompt,
      width,
      height,
      steps,
      seed: seedOf(body.seed, at),
      guidance: body.guidance_scale ?? undefined,
      policy,
      previewSteps: body.stream ? previewSteps(body.partial_images ?? 0, steps) : [],
    },
    policy: policyWord(policy),
    output: encoding,
    preview: encoding,
    priority: "normal",
    onDisconnect: "cancel",
  }));
}

function seedOf(seed: number | null | undefined, at: number): number | undefined {
  return typeof seed === "number" ? Math.min(seed + at, Number.MAX_SAFE_INTEGER) : undefined;
}

async function answer(
  c: Context<ServerEnv>,
  service: Service,
  { output_format: format, quality, stream }: GenerationsBody,
  jobs: readonly Job[],
): Promise<Response> {
  const about = { output_format: format ?? "png", quality: quality ?? "auto" } as const;
  const releases = jobs.map((job) => job.hold());
  const onLeave = () => releases.forEach((release) => release());
  if (stream) {
    const events = new ImageEvents(about);
    return respondLive(c, service, jobs, {
      contentType: SSE_TYPE,
      toBytes: (told) => events.toBytes(told),
      onLeave,
    });
  }
  await untilEnded(c, jobs, onLeave);
  const ends = jobs.map((job) => lastMessage(job));
  const failure = ends.find((end) => end.type === "error" || end.type === "cancelled");
  if (failure?.type === "error" || failure?.type === "cancelled") throw failureProblem(failure);
  const [first] = ends;
  const response: z.output<typeof imagesResponseSchema> = {
    created: Math.floor(Date.now() / 1000),
    data: jobs.map(({ picture }) => ({ b64_json: toBase64(picture ?? new Uint8Array()) })),
    background: "opaque",
    ...about,
    size: first?.type === "result" ? `${first.width}x${first.height}` : "auto",
    usage: usageOf(jobs.flatMap(startOf)),
  };
  return c.json(response, 200, { "x-job-id": jobs.map(({ id }) => id).join(", ") });
}

function lastMessage(job: Job): Message {
  const last = job.log.last?.message;
  if (!last) throw new Error("A job ended without a word.");
  return last;
}

function startOf(job: Job): MessageOf<"start">[] {
  const start = job.log.start;
  return start ? [start] : [];
}
