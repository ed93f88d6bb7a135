import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import type { ServerEnv } from "../http/context.ts";
import { explain, json, responses } from "../http/documented.ts";
import { Problem } from "../http/problem.ts";
import { failureProblem } from "../http/to-problem.ts";
import type { Job } from "../jobs/job.ts";
import { messageSchema } from "../jobs/messages.ts";
import type { Service } from "../service.ts";
import { respondLive } from "../wire/respond.ts";
import { SSE_TYPE, toServerSentEvent } from "../wire/sse.ts";
import { pictureResponse } from "./generate.ts";
import { jobSchema, viewJob } from "./job-view.ts";

const tags = ["jobs"];
const params = z.object({ id: z.string().meta({ example: "job_0123456789abcdef" }) });
const eventNumber = z.coerce.number().int().min(0).max(1e9);

/** `/v1/jobs`: what became of requests, and how to follow or cancel them. */
export function addJobs(app: OpenAPIHono<ServerEnv>, service: Service): void {
  const { jobs } = service;
  const find = (c: Context<ServerEnv>, id: string): Job => {
    const job = jobs.find(id, c.get("owner"));
    if (job) return job;
    throw new Problem(404, "not_found", "There is no such job, or it ended too long ago.");
  };
  const view = (c: Context<ServerEnv>, job: Job) => viewJob(jobs, job, basePath(c));

  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/jobs",
      tags,
      summary: "Your jobs, newest first",
      responses: responses({ 200: json("jobs", z.object({ jobs: z.array(jobSchema) })) }, [401]),
    }),
    (c) => c.json({ jobs: jobs.list(c.get("owner")).map((job) => view(c, job)) }),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/jobs/{id}",
      tags,
      summary: "State, position, ETA and progress of a job",
      request: { params },
      responses: responses({ 200: json("the job", jobSchema) }, [401, 404]),
    }),
    (c) => c.json(view(c, find(c, c.req.valid("param").id))),
    explain(),
  );

  app.openapi(
    createRoute({
      method: "delete",
      path: "/v1/jobs/{id}",
      tags,
      summary: "Cancel a job",
      description:
        "A waiting job ends at once, a running one within one step; one that has ended stays as it is.",
      request: { params },
      responses: responses({ 200: json("the job", jobSchema) }, [401, 404]),
    }),
    (c) => {
      const job = find(c, c.req.valid("param").id);
      job.stop({ type: "cancelled", reason: "it was cancelled by request" });
      return c.json(view(c, job));
    },
    explain(),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/jobs/{id}/events",
      tags,
      summary: "Follow a job, from its beginning or from where a connection broke",
      request: {
        params,
        headers: z.object({ "last-event-id": eventNumber.optional() }),
        query: z.object({ after: eventNumber.optional().meta({ description: "as Last-Event-ID" }) }),
      },
      responses: responses(
        { 200: { description: "server-sent events", content: { [SSE_TYPE]: { schema: messageSchema } } } },
        [401, 404, 422],
      ),
    }),
    (c) => {
      const job = find(c, c.req.valid("param").id);
      const after = c.req.valid("header")["last-event-id"] ?? c.req.valid("query").after ?? 0;
      return respondLive(c, service, [job], { after, contentType: SSE_TYPE, toBytes: toServerSentEvent });
    },
    explain(),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/jobs/{id}/result",
      tags,
      summary: "The finished picture",
      request: { params },
      responses: responses(
        {
          200: {
            description: "the picture, in the format it was asked for",
            content: { "image/*": { schema: z.string().meta({ format: "binary" }) } },
          },
        },
        [401, 404, 409, 503],
      ),
    }),
    (c) => {
      const job = find(c, c.req.valid("param").id);
      if (job.picture) return pictureResponse(job, job.picture);
      const last = job.log.last?.message;
      if (last?.type === "error" || last?.type === "cancelled") throw failureProblem(last);
      throw new Problem(409, "not_ready", `The job is ${job.state}; its picture is not ready.`, {
        headers: { "retry-after": String(Math.ceil(jobs.secondsLeft(job) ?? 1)) },
      });
    },
    explain(),
  );
}

/** The path of the collection of jobs, wherever the app is mounted. */
function basePath(c: Context<ServerEnv>): string {
  return c.req.path.replace(/\/jobs.*$/, "/jobs");
}
