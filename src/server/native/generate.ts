import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { mediaTypes } from "../../media/encode-picture.ts";
import type { ServerEnv } from "../http/context.ts";
import { explain, json, responses } from "../http/documented.ts";
import { failureProblem } from "../http/to-problem.ts";
import type { Job, JobRequest } from "../jobs/job.ts";
import { messageSchema } from "../jobs/messages.ts";
import { checkModel } from "../models/check-model.ts";
import type { Service } from "../service.ts";
import { FRAMES_TYPE, toFrame } from "../wire/frames.ts";
import { respondLive, untilEnded } from "../wire/respond.ts";
import { SSE_TYPE, toBase64, toServerSentEvent } from "../wire/sse.ts";
import { fingerprint } from "./fingerprint.ts";
import { jobSchema, viewJob } from "./job-view.ts";
import { type AnswerKind, negotiate } from "./negotiate.ts";
import { type GenerateBody, generateSchema, policyWord, previewSteps } from "./request-schemas.ts";

const binary = z.string().meta({ format: "binary" });

export const idempotencyHeader = z.object({
  "idempotency-key": z.string().min(1).max(255).optional().meta({
    description: "a repetition with the same key and body is the same job, not another",
  }),
});

const finishedSchema = z.object({
  job: jobSchema,
  result: messageSchema,
  picture: z.string().meta({ description: "base64", contentEncoding: "base64" }),
});

/** `POST /v1/generate`: a picture, told as it forms. */
export function addGenerate(app: OpenAPIHono<ServerEnv>, service: Service): void {
  const { engine, jobs, settings } = service;
  const schema = generateSchema(engine, settings);
  const route = createRoute({
    method: "post",
    path: "/v1/generate",
    tags: ["generate"],
    summary: "Make a picture and watch it form",
    description:
      "The Accept header chooses how it is told: frames (the default) or server-sent events as it happens; JSON or " +
      "a picture at the end.",
    request: {
      headers: idempotencyHeader,
      body: { required: true, content: { "application/json": { schema } } },
    },
    responses: responses(
      {
        200: {
          description: "what the job tells",
          content: {
            [FRAMES_TYPE]: { schema: binary },
            [SSE_TYPE]: { schema: messageSchema },
            "application/json": { schema: finishedSchema },
            [mediaTypes.png]: { schema: binary },
            [mediaTypes.jpeg]: { schema: binary },
            [mediaTypes.webp]: { schema: binary },
          },
        },
        202: json("taken; with `detach`", jobSchema),
      },
      [400, 401, 404, 409, 413, 415, 422, 429, 503, 504],
    ),
  });
  app.openapi(
    route,
    async (c) => {
      const body = c.req.valid("json");
      checkModel(engine, body.model);
      const kind = negotiate(c);
      const key = c.req.valid("header")["idempotency-key"];
      const [job] = jobs.submit([toRequest(body, kind, engine.sizes?.native)], {
        owner: c.get("owner"),
        idempotency: key === undefined ? undefined : { key, fingerprint: await fingerprint(c) },
      });
      if (!job) throw new Error("One request made no job.");
      if (body.detach) {
        const view = viewJob(jobs, job, jobsPath(c));
        return c.json(view, 202, { location: view.links.self, "x-job-id": job.id });
      }
      return answer(c, service, job, kind);
    },
    explain(Object.keys(schema.shape)),
  );
}

/** The path of the collection of jobs, wherever the app is mounted. */
function jobsPath(c: Context<ServerEnv>): string {
  return c.req.path.replace(/\/generate\/?$/, "/jobs");
}

function toRequest(body: GenerateBody, kind: AnswerKind, native: number | undefined): JobRequest {
  const { prompt, steps, seed, guidance, policy, columns, output_quality: quality } = body;
  const format = kind === "png" || kind === "jpeg" || kind === "webp" ? kind : body.output_format;
  const isWatched = kind === "frames" || kind === "events" || body.detach;
  return {
    options: {
      prompt,
      width: body.width ?? body.height ?? native,
      height: body.height ?? body.width ?? native,
      steps,
      seed,
      guidance,
      policy,
      recordColumns: columns,
      previewSteps: isWatched ? previewSteps(body.previews, steps) : [],
    },
    policy: policyWord(policy),
    output: { format, quality },
    preview: { format: body.preview_format, quality },
    priority: body.priority,
    onDisconnect: body.on_disconnect,
  };
}

async function answer(
  c: Context<ServerEnv>,
  service: Service,
  job: Job,
  kind: AnswerKind,
): Promise<Response> {
  const release = job.hold();
  if (kind === "frames")
    return respondLive(c, service, [job], { contentType: FRAMES_TYPE, toBytes: toFrame, onLeave: release });
  if (kind === "events")
    return respondLive(c, service, [job], {
      contentType: SSE_TYPE,
      toBytes: toServerSentEvent,
      onLeave: release,
    });

  await untilEnded(c, [job], release);
  const result = job.log.last?.message;
  if (result?.type === "error" || result?.type === "cancelled") throw failureProblem(result);
  const picture = job.picture ?? new Uint8Array();
  if (kind === "json")
    return c.json({
      job: viewJob(service.jobs, job, jobsPath(c)),
      result,
      picture: toBase64(picture),
    });
  return pictureResponse(job, picture);
}

/** The finished picture of a job, in the format it was asked for. */
export function pictureResponse(job: Job, picture: Uint8Array): Response {
  return new Response(picture as Uint8Array<ArrayBuffer>, {
    headers: {
      "content-type": mediaTypes[job.request.output.format],
      "cache-control": "no-store",
      "x-job-id": job.id,
    },
  });
}
