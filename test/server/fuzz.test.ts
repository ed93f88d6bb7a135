import { expect, test } from "bun:test";
import { Random } from "./fuzz/random.ts";
import { makeRequest, type OpenApiDocument } from "./fuzz/requests.ts";
import { testServer } from "./support.ts";

const REQUESTS = 6000;
const SECONDS_EACH = 10;
/** Set TAMIAS_FUZZ_SEED to see a failure again. */
const seed = Number(process.env.TAMIAS_FUZZ_SEED ?? Date.now() % 2 ** 31);

test(`${REQUESTS} requests made from the document, most of them wrong: never a 5xx, a hang or a crash (seed ${seed})`, async () => {
  const limits = { steps: 4, pixels: 128 * 128, promptCharacters: 500, keepBytes: 1 << 20 };
  const { app, engine } = testServer(limits);
  const document = (await (await app.request("/openapi.json")).json()) as OpenApiDocument;
  const random = new Random(seed);
  const seen = new Map<number, number>();
  for (let count = 0; count < REQUESTS; count++) {
    const request = makeRequest(document, random);
    const what = `request ${count} of seed ${seed}: ${request.method} ${request.url.slice(0, 200)}`;
    const response = await inTime(answer(app.fetch(request)), what);
    seen.set(response.status, (seen.get(response.status) ?? 0) + 1);
    if (response.status >= 500) throw new Error(`${what} got ${response.status}: ${response.text}`);
    const isOurs = response.status >= 400 && new URL(request.url).pathname.startsWith("/v1/");
    if (isOurs && request.method !== "HEAD" && reasonIn(response.text).length < 10)
      throw new Error(`${what} got ${response.status} without a reason: ${response.text}`);
  }
  // The requests are near enough to the document that some are sound, and wrong in many ways.
  expect(seen.get(200) ?? 0).toBeGreaterThan(REQUESTS / 20);
  for (const status of [202, 400, 404, 415, 422])
    expect([status, seen.get(status) ?? 0]).not.toEqual([status, 0]);
  expect(engine.counts.ended).toBe(engine.counts.started);
});

async function answer(response: Response | Promise<Response>): Promise<{ status: number; text: string }> {
  const { status } = await response;
  return { status, text: await (await response).text() };
}

async function inTime<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} hangs.`)), SECONDS_EACH * 1000);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Why a request was refused, in either dialect. */
function reasonIn(text: string): string {
  const body = JSON.parse(text) as { detail?: string; error?: { message?: string } };
  return body.detail ?? body.error?.message ?? "";
}
