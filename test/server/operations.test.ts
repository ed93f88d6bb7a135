import { expect, test } from "bun:test";
import { Hono } from "hono";
import { TamiasError } from "../../ffi/errors.ts";
import type { LogFields } from "../../src/server/http/logger.ts";
import { keyOwners } from "../../src/server/http/api-keys.ts";
import { listen } from "../../src/server/listen.ts";
import { routes } from "../../src/server/routes.ts";
import { fakeEngine } from "./fake-engine.ts";
import { bodyOf, testServer } from "./support.ts";

const key = "a-long-secret-key";
const apiKeys = [{ name: "ann", key }];

test("health and readiness answer without a key", async () => {
  const { get } = testServer({ apiKeys });
  expect(await bodyOf(await get("/health"))).toMatchObject({ status: "ok", model: "acorn-image" });
  expect(await bodyOf(await get("/ready"))).toEqual({ ready: true, running: 0, waiting: 0 });
});

test("keys guard jobs and metrics; the page and its document stay open", async () => {
  const { get, post } = testServer({ apiKeys });
  for (const path of ["/v1/models", "/v1/jobs", "/metrics", "/v1/nothing"])
    expect((await get(path)).status).toBe(401);
  const refused = await post("/v1/generate", { prompt: "x" });
  expect(refused.status).toBe(401);
  expect(refused.headers.get("www-authenticate")).toBe("Bearer");
  expect((await get("/metrics", { authorization: `Bearer ${key}` })).status).toBe(200);
  expect((await get("/metrics", { authorization: `Bearer ${key}x` })).status).toBe(401);
  for (const path of ["/", "/docs", "/openapi.json", "/assets/client.js"])
    expect((await get(path)).status).toBe(200);
});

test("a key is found among several, and nothing like it is", () => {
  const ownerOf = keyOwners([...apiKeys, { name: "bob", key: "another-secret" }]);
  expect(ownerOf("another-secret")).toBe("bob");
  expect(ownerOf("another-secre")).toBeUndefined();
  expect(ownerOf("")).toBeUndefined();
});

test("metrics count jobs, steps, densities and requests", async () => {
  const { get, post } = testServer();
  await (await post("/v1/generate", { prompt: "x", steps: 4, policy: "fast" })).bytes();
  await post("/v1/generate", { prompt: "" });
  const text = await (await get("/metrics")).text();
  for (const line of [
    'tamias_jobs_total{state="succeeded",policy="fast"} 1',
    'tamias_steps_total{action="dense"} 1',
    'tamias_stage_seconds_count{stage="denoise"} 1',
    'tamias_stage_seconds_count{stage="queue"} 1',
    'tamias_density_count{policy="fast",module="mlp"} 1',
    'tamias_http_requests_total{method="POST",route="/v1/generate",status="422"} 1',
    "tamias_device_memory_bytes 123",
    "tamias_jobs_waiting 0",
  ])
    expect(text).toContain(line);
});

test("an engine that cannot take a request is said not to be ready, with its reason", async () => {
  const engine = { ...fakeEngine(), unavailable: "the device's process is being started again" };
  const app = routes(engine);
  const response = await app.request("/ready");
  expect(response.status).toBe(503);
  expect(await bodyOf(response)).toMatchObject({ ready: false, reason: engine.unavailable });
});

test("an engine that cleans up after its picture is ready for the next", async () => {
  const engine = fakeEngine();
  const cleaning = Promise.withResolvers<void>();
  const slow: typeof engine = {
    ...engine,
    async *generate(options) {
      yield* engine.generate(options);
      await cleaning.promise;
    },
  };
  const app = routes(slow);
  const body = JSON.stringify({ prompt: "x", steps: 2 });
  const headers = { "content-type": "application/json", accept: "image/png" };
  expect((await app.request("/v1/generate", { method: "POST", body, headers })).status).toBe(200);
  expect(await bodyOf(await app.request("/ready"))).toMatchObject({ ready: true, running: 1 });
  cleaning.resolve();
});

test.each([
  ["device_failed", 503],
  ["device_lost", 503],
  ["out_of_memory", 503],
  ["disposed", 503],
  ["native", 500],
] as const)("an engine's %s is a problem that says what happened", async (code, status) => {
  const lines: string[] = [];
  const log = (_: string, message: string, fields?: LogFields) =>
    void lines.push(`${message} ${JSON.stringify(fields)}`);
  const { post, engine } = testServer({}, { log });
  const cleaning = new Error("The stream cannot be destroyed.");
  engine.failNext(new SuppressedError(cleaning, new TamiasError(code, "What happened.")));
  const response = await post("/v1/generate", { prompt: "x" }, { accept: "image/png" });
  expect(response.status).toBe(status);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.headers.get("retry-after")).toBe(code === "disposed" ? null : "1");
  expect(await bodyOf(response)).toMatchObject({ code, detail: "What happened." });
  // What failed afterwards is for the log.
  expect(lines.find((line) => line.startsWith("mistake"))).toContain("cannot be destroyed");
});

test("logs name requests and jobs, and never prompts or keys", async () => {
  const lines: { message: string; fields: LogFields | undefined }[] = [];
  const log = (_: string, message: string, fields?: LogFields) => void lines.push({ message, fields });
  const { post } = testServer({ apiKeys }, { log });
  const response = await post(
    "/v1/generate",
    { prompt: "a very private fox", steps: 2 },
    { authorization: `Bearer ${key}`, "x-request-id": "my-request" },
  );
  await response.bytes();
  expect(response.headers.get("x-request-id")).toBe("my-request");
  expect(lines.map(({ message }) => message).toSorted()).toEqual(["job ended", "job started", "request"]);
  expect(lines.find(({ message }) => message === "request")?.fields).toMatchObject({
    request: "my-request",
    owner: "ann",
    status: 200,
    job: response.headers.get("x-job-id")!,
  });
  expect(JSON.stringify(lines)).not.toMatch(/private|secret/);
});

test("a mistake of the server's own is logged and told as 500", async () => {
  const lines: string[] = [];
  const engine = fakeEngine();
  const broken = {
    ...engine,
    get deviceBytes(): number {
      throw new Error("inside story");
    },
  };
  const app = routes(broken as typeof engine, {
    log: (level, message, fields) => void lines.push(`${level} ${message} ${String(fields?.error)}`),
  });
  const response = await app.request("/metrics");
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain("inside story");
  expect(lines.join()).toContain("inside story");
});

test("an error of the engine's that nobody foresaw is in the log, not in the answer", async () => {
  const lines: string[] = [];
  const log = (_: string, message: string, fields?: LogFields) =>
    void lines.push(`${message} ${String(fields?.error)}`);
  const { post, engine } = testServer({}, { log });
  engine.failNext(new Error("inside story"));
  const response = await post("/v1/generate", { prompt: "x" }, { accept: "text/event-stream" });
  expect(await response.text()).not.toContain("inside story");
  expect(lines.join()).toContain("mistake Error: inside story");
});

test("other origins are let in only when told so", async () => {
  const origin = { origin: "https://page.example" };
  const closed = await testServer().get("/v1/models", origin);
  expect(closed.headers.get("access-control-allow-origin")).toBeNull();
  const open = await testServer({ corsOrigins: ["https://page.example"] }).get("/v1/models", origin);
  expect(open.headers.get("access-control-allow-origin")).toBe("https://page.example");
  const other = await testServer({ corsOrigins: ["https://page.example"] }).get("/v1/models", {
    origin: "https://other.example",
  });
  expect(other.headers.get("access-control-allow-origin")).toBeNull();
});

test("the app mounts in another, beside its routes and under a path", async () => {
  const engine = fakeEngine();
  const app = new Hono();
  app.route("/", routes(engine, { settings: { apiKeys } }));
  app.route("/pictures", routes(engine));
  app.get("/mine", (c) => c.text("mine"));
  expect(await (await app.request("/mine")).text()).toBe("mine");
  expect((await app.request("/v1/models")).status).toBe(401);
  const body = JSON.stringify({ prompt: "x", steps: 2, detach: true });
  const headers = { "content-type": "application/json" };
  const response = await app.request("/pictures/v1/generate", { method: "POST", body, headers });
  expect(response.status).toBe(202);
  const { links } = (await response.json()) as { links: { self: string } };
  expect(links.self).toStartWith("/pictures/v1/jobs/job_");
  expect((await app.request(links.self)).status).toBe(200);
  expect((await app.request("/pictures/v1/models")).status).toBe(200);
});

test("on a loopback address, only that address is answered to", async () => {
  const server = listen(fakeEngine(), { port: 0 });
  try {
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    const rebound = await fetch(`${server.url}/health`, { headers: { host: "evil.example" } });
    expect(rebound.status).toBe(421);
  } finally {
    await server.stop(0);
  }
});

test("the document is whole, and every reference in it resolves", async () => {
  const { get } = testServer();
  const document = (await bodyOf(await get("/openapi.json"))) as Record<string, never>;
  expect(document).toMatchObject({ openapi: "3.1.0", info: { title: "Tamias" } });
  expect(Object.keys(document.paths!)).toContain("/v1/images/generations");
  for (const [, path] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    const target = path!
      .split("/")
      .reduce<unknown>((at, part) => (at as Record<string, unknown>)?.[part], document);
    expect(target).toBeObject();
  }
});

test("the pages ask nothing of other servers", async () => {
  const { get } = testServer();
  for (const path of ["/", "/docs"]) {
    const response = await get(path);
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    const html = await response.text();
    const links = [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, link = ""]) => link);
    expect(links.length).toBeGreaterThan(3);
    for (const link of links) {
      expect(link).not.toMatch(/^(?:\w+:|\/)/);
      const asset = await get(`/${link}`);
      expect({ link, status: asset.status }).toEqual({ link, status: 200 });
      const etag = asset.headers.get("etag");
      if (etag) expect((await get(`/${link}`, { "if-none-match": etag })).status).toBe(304);
    }
  }
  expect((await get("/assets/msgpack/index.mjs")).status).toBe(200);
  for (const path of [
    "/assets/msgpack/nothing.mjs",
    "/assets/msgpack/..%2f..%2fpackage.json",
    "/assets/x.js",
  ])
    expect((await get(path)).status).toBe(404);
});
