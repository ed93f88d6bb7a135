import type { OpenAPIHono } from "@hono/zod-openapi";
import { version } from "../../version.ts";
import type { ServerEnv } from "../http/context.ts";

/** `/openapi.json`, made from the schemas that requests are checked with. */
export function addDocument(app: OpenAPIHono<ServerEnv>): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "apiKey", { type: "http", scheme: "bearer" });
  app.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: {
      title: "Tamias",
      version,
      description:
        "Pictures from diffusion transformers, streamed as they form. A frame of `application/vnd.msgpack` is the " +
        "length of its header (u32, big-endian), the header in msgpack (a Message), and `bytes` of payload where " +
        "the header says so.",
      license: { name: "Apache-2.0" },
    },
    servers: [{ url: "./" }],
    security: [{}, { apiKey: [] }],
  });
}
