import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { z } from "zod";
import { version } from "../../version.ts";
import type { ServerEnv } from "../http/context.ts";
import { json } from "../http/documented.ts";
import type { Engine } from "../engine.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Service } from "../service.ts";

const tags = ["operations"];
const readySchema = z.object({
  ready: z.boolean(),
  reason: z.string().optional(),
  running: z.int(),
  waiting: z.int(),
});

/** `/health`: the process answers. `/ready`: it takes jobs. */
export function addHealth(app: OpenAPIHono<ServerEnv>, { engine, jobs }: Service): void {
  app.openapi(
    createRoute({
      method: "get",
      path: "/health",
      tags,
      summary: "Whether the process answers",
      responses: {
        200: json("it does", z.object({ status: z.literal("ok"), version: z.string(), model: z.string() })),
      },
    }),
    (c) => c.json({ status: "ok", version, model: engine.model } as const),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/ready",
      tags,
      summary: "Whether a job would be taken now",
      responses: { 200: json("it would", readySchema), 503: json("it would not", readySchema) },
    }),
    (c) => {
      const reason = whyNot(engine, jobs);
      const body = { ready: reason === undefined, running: jobs.running, waiting: jobs.waiting };
      return c.json(reason === undefined ? body : { ...body, reason }, reason === undefined ? 200 : 503);
    },
  );
}

function whyNot(engine: Engine, jobs: Jobs): string | undefined {
  if (jobs.closing) return "shutting down";
  if (jobs.isStuck) return "the device does not stop";
  if (engine.unavailable !== undefined) return engine.unavailable;
  return jobs.isFull ? "the queue is full" : undefined;
}
