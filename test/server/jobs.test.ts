import { expect, test } from "bun:test";
import { bodyOf, messagesOf, parseEvents, type TestServer, testServer, until } from "./support.ts";

const request = { prompt: "a red fox", steps: 4, previews: 0 };
const keys = [
  { name: "ann", key: "ann-secret-key" },
  { name: "bob", key: "bob-secret-key" },
];
const as = (name: string) => ({ authorization: `Bearer ${name}-secret-key` });

async function detach(server: TestServer, body: object = {}, headers = {}): Promise<Record<string, unknown>> {
  const response = await server.post("/v1/generate", { ...request, detach: true, ...body }, headers);
  expect(response.status).toBe(202);
  const job = await bodyOf(response);
  expect(response.headers.get("location")).toBe(`/v1/jobs/${String(job.id)}`);
  return job;
}

const look = async (server: TestServer, id: unknown) => bodyOf(await server.get(`/v1/jobs/${String(id)}`));

const over = (server: TestServer, id: unknown, state: string) =>
  until(async () => (await look(server, id)).state === state);

test("a detached job is looked at, followed and fetched later", async () => {
  const server = testServer();
  server.engine.hold();
  const { id } = await detach(server);
  const second = await detach(server);
  expect(await look(server, id)).toMatchObject({ state: "running", position: 0 });
  expect(await look(server, second.id)).toMatchObject({ state: "queued", position: 0, eta_seconds: null });
  const early = await server.get(`/v1/jobs/${String(id)}/result`);
  expect(early.status).toBe(409);
  await server.engine.step();
  await until(async () => ((await look(server, id)).progress as { step: number }).step === 1);
  server.engine.free();
  await over(server, second.id, "succeeded");
  const picture = await server.get(`/v1/jobs/${String(id)}/result`);
  expect(picture.headers.get("content-type")).toBe("image/png");
  const list = await bodyOf(await server.get("/v1/jobs"));
  expect((list.jobs as { id: string }[]).map((job) => job.id)).toEqual([second.id, id] as string[]);
});

test("events are resumed after the last one seen, and end once", async () => {
  const server = testServer();
  const { id } = await detach(server);
  const path = `/v1/jobs/${String(id)}/events`;
  const whole = parseEvents(await (await server.get(path)).text()).filter((event) => event.id);
  expect(whole.map(({ event }) => event)).toEqual(["start", "step", "step", "step", "step", "result"]);
  const rest = parseEvents(await (await server.get(path, { "last-event-id": "3" })).text());
  expect(rest.filter((event) => event.id).map((event) => event.id)).toEqual(["4", "5", "6"]);
  const byQuery = parseEvents(await (await server.get(`${path}?after=5`)).text());
  expect(byQuery.map(({ event }) => event)).toEqual(["result"]);
  expect((await server.get(path, { "last-event-id": "x" })).status).toBe(422);
});

test("DELETE ends a waiting job at once and a running one within one step", async () => {
  const server = testServer();
  server.engine.hold();
  const running = await detach(server);
  const waiting = await detach(server);
  const remove = (id: unknown) => server.app.request(`/v1/jobs/${String(id)}`, { method: "DELETE" });
  expect(await bodyOf(await remove(waiting.id))).toMatchObject({
    state: "cancelled",
    error: { code: "cancelled" },
  });
  await server.engine.step();
  await remove(running.id);
  await over(server, running.id, "cancelled");
  expect(server.engine.counts).toMatchObject({ started: 1, ended: 1 });
  expect(server.engine.counts.steps).toBeLessThanOrEqual(2);
  const events = parseEvents(await (await server.get(`/v1/jobs/${String(running.id)}/events`)).text());
  expect(events.filter(({ event }) => event === "cancelled").length).toBe(1);
  expect((await server.get(`/v1/jobs/${String(running.id)}/result`)).status).toBe(409);
  expect((await remove("job_none")).status).toBe(404);
});

test.each([
  ["cancel", "cancelled"],
  ["continue", "succeeded"],
] as const)("on_disconnect %s: the job is %s when its client goes away", async (onDisconnect, state) => {
  const server = testServer();
  server.engine.hold();
  const leaving = new AbortController();
  const body = { ...request, on_disconnect: onDisconnect };
  const response = await server.post("/v1/generate", body, {}, leaving.signal);
  const id = response.headers.get("x-job-id");
  const reader = response.body!.getReader();
  await reader.read();
  await server.engine.step();
  await reader.cancel();
  leaving.abort();
  if (onDisconnect === "continue") server.engine.free();
  await over(server, id, state);
  expect(server.engine.counts.ended).toBe(1);
});

test("a request that waits for its picture is cancelled with its client too", async () => {
  const server = testServer();
  server.engine.hold();
  const leaving = new AbortController();
  const answer = server.post("/v1/generate", request, { accept: "image/png" }, leaving.signal);
  await server.engine.step();
  leaving.abort();
  expect((await answer).status).toBe(409);
  expect(server.engine.counts).toMatchObject({ started: 1, ended: 1 });
});

test("a full queue is 429 with Retry-After, and takes jobs again afterwards", async () => {
  const server = testServer({ queueLength: 2 });
  server.engine.hold();
  const ids = [];
  for (let count = 0; count < 3; count++) ids.push((await detach(server)).id);
  const refused = await server.post("/v1/generate", request);
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await bodyOf(refused)).toMatchObject({ code: "queue_full" });
  expect((await server.get("/ready")).status).toBe(503);
  server.engine.free();
  await over(server, ids[2], "succeeded");
  expect((await messagesOf(await server.post("/v1/generate", request))).at(-1)?.type).toBe("result");
});

test("higher priorities go first, equal ones in order", async () => {
  const server = testServer();
  server.engine.hold();
  await detach(server);
  const jobs: Record<string, unknown> = {};
  for (const [name, priority] of Object.entries({ a: "low", b: "normal", c: "high", d: "normal" }))
    jobs[name] = (await detach(server, { priority })).id;
  const positions = await Promise.all(["c", "b", "d", "a"].map(async (name) => look(server, jobs[name])));
  expect(positions.map(({ position }) => position)).toEqual([0, 1, 2, 3]);
});

test("keys have jobs of their own, and as many as are allowed", async () => {
  const server = testServer({ apiKeys: keys, jobsPerKey: 1 });
  server.engine.hold();
  const { id } = await detach(server, {}, as("ann"));
  expect((await server.post("/v1/generate", request, as("ann"))).status).toBe(429);
  expect((await server.get(`/v1/jobs/${String(id)}`, as("ann"))).status).toBe(200);
  expect((await server.get(`/v1/jobs/${String(id)}`, as("bob"))).status).toBe(404);
  await detach(server, {}, as("bob"));
});

test("an Idempotency-Key makes a repetition the same job, for one asker and one body", async () => {
  const server = testServer({ apiKeys: keys });
  server.engine.hold();
  const ann = { ...as("ann"), "idempotency-key": "one" };
  const first = await detach(server, {}, ann);
  expect((await detach(server, {}, ann)).id).toBe(first.id);
  expect((await detach(server, {}, { ...as("bob"), "idempotency-key": "one" })).id).not.toBe(first.id);
  const other = await server.post("/v1/generate", { ...request, detach: true, steps: 5 }, ann);
  expect(other.status).toBe(422);
  expect(await bodyOf(other)).toMatchObject({ code: "idempotency_key_reused" });
  // What was cancelled may be tried again.
  await server.app.request(`/v1/jobs/${String(first.id)}`, { method: "DELETE", headers: as("ann") });
  await until(() => server.engine.counts.ended === 1);
  expect((await detach(server, {}, ann)).id).not.toBe(first.id);
});

test("jobs that run or wait too long end with an error", async () => {
  const slow = testServer({ runSeconds: 0.05, waitSeconds: 60 });
  slow.engine.hold();
  expect((await messagesOf(await slow.post("/v1/generate", request))).at(-1)).toMatchObject({
    type: "error",
    code: "timeout",
    retry: true,
  });
  const long = testServer({ waitSeconds: 0.05 });
  long.engine.hold();
  await detach(long);
  const waited = await long.post("/v1/generate", request, { accept: "image/png" });
  expect(waited.status).toBe(504);
});

test("an engine that does not stop keeps its job from nobody, and is said not to be ready", async () => {
  const server = testServer({ stopSeconds: 0.05 });
  server.engine.hold({ deaf: true });
  const { id } = await detach(server);
  await server.app.request(`/v1/jobs/${String(id)}`, { method: "DELETE" });
  await over(server, id, "cancelled");
  expect(await bodyOf(await server.get("/ready"))).toMatchObject({
    ready: false,
    reason: "the device does not stop",
  });
  server.engine.free();
  await until(async () => (await server.get("/ready")).status === 200);
  expect((await messagesOf(await server.post("/v1/generate", request))).at(-1)?.type).toBe("result");
});

test("ended jobs are forgotten after their time, and when they take too much room", async () => {
  const brief = testServer({ keepSeconds: 0.02 });
  const { id } = await detach(brief);
  await until(async () => (await brief.get(`/v1/jobs/${String(id)}`)).status === 404);
  const few = testServer({ keepJobs: 2 });
  for (let count = 0; count < 4; count++) await over(few, (await detach(few)).id, "succeeded");
  expect(((await bodyOf(await few.get("/v1/jobs"))).jobs as unknown[]).length).toBe(2);
  const small = testServer({ keepBytes: 1 });
  const first = await detach(small);
  await until(async () => (await small.get(`/v1/jobs/${String(first.id)}`)).status === 404);
});

test("what an ended job told counts as room too, column maps above all", async () => {
  const body = { columns: true, steps: 40 };
  const roomy = testServer();
  const { id } = await detach(roomy, body);
  await over(roomy, id, "succeeded");
  const picture = await (await roomy.get(`/v1/jobs/${String(id)}/result`)).bytes();
  const told = await (await roomy.get(`/v1/jobs/${String(id)}/events`)).text();
  expect(told.length).toBeGreaterThan(4 * picture.length);
  const small = testServer({ keepBytes: 2 * picture.length });
  const large = await detach(small, body);
  await until(async () => (await small.get(`/v1/jobs/${String(large.id)}`)).status === 404);
});

test("closing lets jobs end, and hands back those that do not in time", async () => {
  const server = testServer();
  server.engine.hold();
  const running = await server.post("/v1/generate", request);
  const waiting = await server.post("/v1/generate", request);
  const closing = server.close(0.05);
  expect((await server.get("/ready")).status).toBe(503);
  const refused = await server.post("/v1/generate", request);
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).not.toBeNull();
  await closing;
  for (const response of [running, waiting])
    expect((await messagesOf(response)).at(-1)).toMatchObject({
      type: "error",
      code: "shutting_down",
      retry: true,
    });
  const quick = testServer();
  const answer = await quick.post("/v1/generate", request);
  await quick.close(5);
  expect((await messagesOf(answer)).at(-1)?.type).toBe("result");
});
