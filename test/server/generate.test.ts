import { expect, test } from "bun:test";
import { TamiasError } from "../../ffi/errors.ts";
import { decodePng } from "../../src/media/png.ts";
import { previewSteps } from "../../src/server/native/request-schemas.ts";
import { bodyOf, messagesOf, parseEvents, testServer } from "./support.ts";

const request = { prompt: "a red fox", steps: 8, seed: 3, width: 64, height: 48 };

test("frames tell the queue, the start, every step and the result, whose PNG knows how it was made", async () => {
  const { post } = testServer();
  const response = await post("/v1/generate", { ...request, previews: 0 });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("application/vnd.msgpack");
  const messages = await messagesOf(response);
  expect(messages.map(({ type }) => type)).toEqual([
    "queued",
    "start",
    ...Array.from({ length: 8 }, () => "step" as const),
    "result",
  ]);
  const start = messages[1]!;
  expect(start).toMatchObject({ prompt: "a red fox", width: 64, height: 48, seed: 3, policy: "balanced" });
  const result = messages.at(-1)!;
  if (result.type !== "result") throw new Error("no result");
  const picture = decodePng(result.payload);
  expect([picture.width, picture.height]).toEqual([64, 48]);
  expect(picture.metadata).toMatchObject({ prompt: "a red fox", seed: "3", policy: "balanced" });
  expect(picture.rgb[0]).toBe((3 * 31) % 256);
});

test.each([
  ["jpeg", [0xff, 0xd8]],
  ["webp", [0x52, 0x49]],
  ["png", [0x89, 0x50]],
] as const)("an Accept header for %s gets the picture alone", async (format, magic) => {
  const { post } = testServer();
  const response = await post("/v1/generate", request, { accept: `image/${format}` });
  expect(response.headers.get("content-type")).toBe(`image/${format}`);
  expect([...(await response.bytes()).subarray(0, 2)]).toEqual([...magic]);
});

test("raw bytes are the picture's own", async () => {
  const { post } = testServer();
  const messages = await messagesOf(await post("/v1/generate", { ...request, output_format: "rgb" }));
  const result = messages.at(-1)!;
  expect(result.type === "result" && result.payload.length).toBe(64 * 48 * 3);
});

test("JSON waits for the end and brings the job, the result and the picture", async () => {
  const { post } = testServer();
  const body = await bodyOf(await post("/v1/generate", request, { accept: "application/json" }));
  expect(body).toMatchObject({
    job: { state: "succeeded", progress: { step: 8, steps: 8 } },
    result: { type: "result", seed: 3 },
  });
  expect(decodePng(Buffer.from(String(body.picture), "base64")).width).toBe(64);
});

test("server-sent events carry numbers to resume from, and pictures in base64", async () => {
  const { post } = testServer();
  const response = await post("/v1/generate", request, { accept: "text/event-stream" });
  const events = parseEvents(await response.text());
  expect(events[0]).toMatchObject({ event: "queued" });
  expect(events[0]?.id).toBeUndefined();
  expect(events[1]).toMatchObject({ id: "1", event: "start" });
  expect(events.at(-1)).toMatchObject({ event: "result", data: { type: "result", format: "png" } });
  expect(decodePng(Buffer.from(String(events.at(-1)?.data.payload), "base64")).height).toBe(48);
});

test("columns add what each layer did and a map of the image keys", async () => {
  const { post } = testServer();
  const messages = await messagesOf(await post("/v1/generate", { ...request, columns: true }));
  const deltas = messages.filter((message) => message.type === "step" && message.action === "delta");
  expect(deltas.length).toBeGreaterThan(0);
  for (const message of deltas) {
    if (message.type !== "step") continue;
    expect(message.grid).toEqual([1, 3, 4]);
    expect(message.payload?.length).toBe(12);
    expect(message.cells?.length).toBe(4);
  }
  const dense = messages.find((message) => message.type === "step" && message.action === "dense");
  expect(dense).not.toHaveProperty("payload");
});

test("the first estimate follows the first step", async () => {
  expect(previewSteps(3, 20)).toEqual([0, 6, 13]);
  expect(previewSteps(100, 4)).toEqual([0, 1, 2]);
  expect(previewSteps(0, 20)).toEqual([]);
  expect(previewSteps(3, 1)).toEqual([]);
  const { post, engine } = testServer();
  engine.hold();
  const response = await post("/v1/generate", request);
  const reading = messagesOf(response);
  await engine.step();
  engine.free();
  const types = (await reading).map(({ type }) => type);
  expect(types.slice(0, 4)).toEqual(["queued", "start", "step", "preview"]);
});

test.each([
  ["out_of_memory", 503, new TamiasError("out_of_memory", "No memory.", { hint: "Ask for less." })],
  ["bad_input", 422, new TamiasError("bad_input", "Not this.")],
  ["internal", 500, new Error("secret path /etc/x")],
] as const)(
  "an engine's error %s ends the job and is told, as %i to who waits",
  async (code, status, error) => {
    const { post, engine } = testServer();
    engine.failNext(error);
    const live = (await messagesOf(await post("/v1/generate", request))).at(-1);
    expect(live).toMatchObject({ type: "error", code });
    expect(JSON.stringify(live)).not.toContain("secret");
    engine.failNext(error);
    const waited = await post("/v1/generate", request, { accept: "image/png" });
    expect(waited.status).toBe(status);
    expect(waited.headers.get("content-type")).toBe("application/problem+json");
    expect(await bodyOf(waited)).toMatchObject({ status, code });
  },
);

test.each([
  [{ prompt: "" }, "prompt", undefined],
  [{ prompt: "x", polcy: "exact" }, "polcy", "policy"],
  [{ prompt: "x", policy: "balancd" }, "policy", "balanced"],
  [{ prompt: "x", policy: { attention: 3 } }, "policy", undefined],
  [{ prompt: "x", on_disconnect: "contine" }, "on_disconnect", "continue"],
  [{ prompt: "x", width: 100 }, "width", undefined],
  [{ prompt: "x", width: 8000, height: 8000 }, "width", undefined],
  [{ prompt: "x", steps: 201 }, "steps", undefined],
  [{ prompt: "x", seed: 1e300 }, "seed", undefined],
  [{ prompt: "x\ud800" }, "prompt", undefined],
  [{ prompt: "x".repeat(2001) }, "prompt", undefined],
])("a wrong request is refused, naming the field: %#", async (body, field, suggestion) => {
  const { post, engine } = testServer();
  const response = await post("/v1/generate", body);
  expect(response.status).toBe(422);
  const { errors } = (await bodyOf(response)) as { errors: Record<string, unknown>[] };
  expect(errors[0]).toMatchObject({ field, ...(suggestion ? { suggestion } : {}) });
  expect(engine.counts.started).toBe(0);
});

test("another model is 404 with what there is", async () => {
  const { post } = testServer();
  const response = await post("/v1/generate", { prompt: "x", model: "acorn-imag" });
  expect(response.status).toBe(404);
  expect(await bodyOf(response)).toMatchObject({
    code: "model_not_found",
    errors: [{ field: "model", allowed: ["acorn-image"], suggestion: "acorn-image" }],
  });
});

test("what is no JSON, too large or of another type is refused", async () => {
  const { post } = testServer({ bodyBytes: 2048 });
  expect((await post("/v1/generate", "{")).status).toBe(400);
  expect((await post("/v1/generate", { prompt: "x".repeat(3000) })).status).toBe(413);
  expect((await post("/v1/generate", "prompt=x", { "content-type": "text/plain" })).status).toBe(415);
  const deep = `${"[".repeat(900)}${"]".repeat(900)}`;
  expect((await post("/v1/generate", `{"prompt":"x","policy":{"a":${deep}}}`)).status).toBe(422);
});
