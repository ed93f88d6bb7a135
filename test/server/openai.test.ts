import { afterAll, beforeAll, expect, test } from "bun:test";
import OpenAI from "openai";
import { TamiasError } from "../../ffi/errors.ts";
import { decodePng } from "../../src/media/png.ts";
import { listen, type Listening } from "../../src/server/listen.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";
import { until } from "./support.ts";

const key = "sk-test-key-of-ann";
let engine: FakeEngine;
let server: Listening;
let client: OpenAI;

beforeAll(() => {
  engine = fakeEngine();
  server = listen(engine, { port: 0, settings: { apiKeys: [{ name: "ann", key }], queueLength: 2 } });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: key, maxRetries: 0 });
});
afterAll(() => server.stop(0));

test("pictures are generated", async () => {
  const made = await client.images.generate({ prompt: "a fox", model: "acorn-image", n: 2, size: "64x64" });
  expect(made.data?.length).toBe(2);
  const pictures = made.data?.map(({ b64_json: text = "" }) => decodePng(Buffer.from(text, "base64")));
  expect(pictures?.map(({ width, height }) => [width, height])).toEqual([
    [64, 64],
    [64, 64],
  ]);
  expect(made).toMatchObject({ size: "64x64", output_format: "png", background: "opaque", quality: "auto" });
  expect(made.usage).toMatchObject({ total_tokens: 2 * (8 + 16), input_tokens: 16, output_tokens: 32 });
});

test("a stream brings partial images and a completed one", async () => {
  const stream = await client.images.generate({
    prompt: "a fox",
    stream: true,
    partial_images: 3,
    output_format: "jpeg",
    quality: "high",
  });
  const events = await Array.fromAsync(stream);
  expect(events.map(({ type }) => type).at(-1)).toBe("image_generation.completed");
  const partial = events.filter((event) => event.type === "image_generation.partial_image");
  expect(partial.length).toBeGreaterThan(0);
  expect(partial.map((event) => event.partial_image_index)).toEqual(partial.map((_, at) => at));
  for (const event of events) {
    expect(event).toMatchObject({
      size: "64x64",
      output_format: "jpeg",
      quality: "high",
      background: "opaque",
    });
    expect(event.created_at).toBeGreaterThan(1e9);
    expect([...Buffer.from(event.b64_json, "base64").subarray(0, 2)]).toEqual([0xff, 0xd8]);
  }
  expect(events.at(-1)).toHaveProperty("usage.total_tokens", 24);
});

test("fields of open models are taken", async () => {
  const extra = { seed: 9, num_inference_steps: 3, guidance_scale: 2.5, policy: "fast" };
  const made = await client.images.generate({ prompt: "a fox", ...extra } as OpenAI.ImageGenerateParams);
  const [first] = (made as OpenAI.ImagesResponse).data ?? [];
  const { metadata } = decodePng(Buffer.from(first?.b64_json ?? "", "base64"));
  expect(metadata).toMatchObject({ seed: "9", steps: "3", guidance: "2.5", policy: "fast" });
});

test.each([
  ["high", "exact"],
  ["low", "fast"],
  [undefined, "balanced"],
] as const)("quality %s is the policy %s", async (quality, policy) => {
  const made = await client.images.generate({ prompt: "a fox", ...(quality ? { quality } : {}) });
  const text = (made as OpenAI.ImagesResponse).data?.[0]?.b64_json ?? "";
  expect(decodePng(Buffer.from(text, "base64")).metadata.policy).toBe(policy);
});

test("models are listed", async () => {
  const ids = await Array.fromAsync(await client.models.list(), ({ id }) => id);
  expect(ids).toEqual(["acorn-image"]);
  expect(await client.models.retrieve("acorn-image")).toMatchObject({ object: "model", owned_by: "tamias" });
});

test("errors are those the client knows", async () => {
  const refused = (body: object) =>
    client.images.generate({ prompt: "x", ...body } as OpenAI.ImageGenerateParamsNonStreaming).then(
      () => undefined,
      (error: unknown) => error,
    );
  expect(await refused({ size: "100x100" })).toBeInstanceOf(OpenAI.BadRequestError);
  expect(await refused({ size: "100x100" })).toMatchObject({ param: "size", code: "invalid_request" });
  expect(await refused({ sizes: "64x64" })).toMatchObject({ status: 400, param: "sizes" });
  expect(String(await refused({ sizes: "64x64" }))).toContain('Did you mean "size"');
  const unknown = await refused({ model: "acorn-imge" });
  expect(unknown).toBeInstanceOf(OpenAI.NotFoundError);
  expect(String(unknown)).toContain('Did you mean "acorn-image"');
  expect(await refused({ response_format: "url" })).toMatchObject({ status: 400, param: "response_format" });
  expect(await refused({ n: 10 })).toBeInstanceOf(OpenAI.RateLimitError);
  const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "sk-wrong-key", maxRetries: 0 });
  const unauthorised = await stranger.models.list().then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(unauthorised).toBeInstanceOf(OpenAI.AuthenticationError);
});

test("an error in a stream reaches the client", async () => {
  engine.failNext(new TamiasError("device_lost", "The device is gone."));
  const stream = await client.images.generate({ prompt: "a fox", stream: true });
  const outcome = await Array.fromAsync(stream).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(OpenAI.APIError);
  expect(outcome).toMatchObject({ code: "device_lost", type: "server_error" });
});

test("a stream that the client leaves is cancelled", async () => {
  engine.hold();
  const before = engine.counts.ended;
  const stream = await client.images.generate({ prompt: "a fox", stream: true, partial_images: 1 });
  for (let step = 0; step < 2; step++) await engine.step();
  for await (const _ of stream) break;
  await until(() => engine.counts.ended > before);
  expect(engine.counts.ended).toBe(before + 1);
  engine.free();
});

test("edits are refused in words, since no model makes them", async () => {
  const image = new File([new Uint8Array(8)], "a.png", { type: "image/png" });
  const outcome = await client.images.edit({ image, prompt: "x" }).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(outcome).toMatchObject({ status: 400, code: "unsupported" });
});
