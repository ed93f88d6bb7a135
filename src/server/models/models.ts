import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { z } from "zod";
import { policies } from "../../delta/policies/index.ts";
import type { ServerEnv } from "../http/context.ts";
import { explain, json, responses } from "../http/documented.ts";
import type { Service } from "../service.ts";
import { checkModel } from "./check-model.ts";

const tags = ["models"];

const modelSchema = z
  .object({
    id: z.string(),
    object: z.literal("model"),
    created: z.int(),
    owned_by: z.string(),
    device: z.string(),
    native_size: z.int().nullable(),
    size_multiple: z.int().nullable(),
    max_steps: z.int(),
    max_pixels: z.int(),
    edits: z.boolean(),
  })
  .meta({ id: "Model" });

/** `/v1/models` in OpenAI's shape with what a page needs to know besides, and `/v1/policies`. */
export function addModels(app: OpenAPIHono<ServerEnv>, { engine, settings, vocabulary }: Service): void {
  const created = Math.floor(Date.now() / 1000);
  const model: z.output<typeof modelSchema> = {
    id: engine.model,
    object: "model",
    created,
    owned_by: "tamias",
    device: engine.device,
    native_size: engine.sizes?.native ?? null,
    size_multiple: engine.sizes?.multiple ?? null,
    max_steps: settings.steps,
    max_pixels: settings.pixels,
    edits: false,
  };
  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/models",
      tags,
      summary: "The models that can be asked for",
      responses: responses(
        { 200: json("models", z.object({ object: z.literal("list"), data: z.array(modelSchema) })) },
        [401],
      ),
    }),
    (c) => c.json({ object: "list", data: [model] }),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/models/{id}",
      tags,
      summary: "One model",
      request: { params: z.object({ id: z.string() }) },
      responses: responses({ 200: json("the model", modelSchema) }, [401, 404]),
    }),
    (c) => {
      checkModel(engine, c.req.valid("param").id);
      return c.json(model);
    },
    explain(),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/models/{id}/words",
      tags,
      summary: "The words a model was trained on, by kind",
      request: { params: z.object({ id: z.string() }) },
      responses: responses(
        { 200: json("words; empty when the model takes any", z.record(z.string(), z.array(z.string()))) },
        [401, 404],
      ),
    }),
    (c) => {
      checkModel(engine, c.req.valid("param").id);
      return c.json(vocabulary ?? {});
    },
    explain(),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/v1/policies",
      tags,
      summary: "The named policies, from the most faithful to the fastest",
      responses: responses(
        {
          200: json(
            "policies",
            z.object({ policies: z.array(z.object({ name: z.string(), description: z.string() })) }),
          ),
        },
        [401],
      ),
    }),
    (c) => c.json({ policies: policies.map(({ name, description }) => ({ name, description })) }),
  );
}
