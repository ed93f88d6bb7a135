// Tamias inside a Hono app of your own, beside its other routes.
//   bun examples/mounted.ts
import { Hono } from "hono";
import { routes } from "tamias/server";
import { openInProcess } from "tamias/workers";

const engine = await openInProcess({ model: process.env.TAMIAS_MODEL ?? "acorn-image" });
const app = new Hono();
app.get("/hello", (c) => c.text("Yours."));
app.route("/tamias", routes(engine, { settings: { queueLength: 16 } }));

// `server` lets streams be silent for longer than Bun's idle time-out.
const server = Bun.serve({ port: 3000, fetch: (request, self) => app.fetch(request, { server: self }) });
console.log(`${server.url}hello and ${server.url}tamias/v1/generate`);
