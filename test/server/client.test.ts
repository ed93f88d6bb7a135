import { expect, test } from "bun:test";
import type { z } from "zod";
import {
  generate,
  type GenerateRequest,
  type Message,
  readMessages,
  TamiasRequestError,
} from "../../src/client/index.js";
import type { Message as ServerMessage } from "../../src/server/jobs/messages.ts";
import type { generateSchema } from "../../src/server/native/request-schemas.ts";
import { listen } from "../../src/server/listen.ts";
import { toFrame } from "../../src/server/wire/frames.ts";
import { fakeEngine } from "./fake-engine.ts";
import { until } from "./support.ts";

const told = [
  { message: { type: "heartbeat" as const } },
  {
    message: { type: "preview" as const, step: 1, format: "rgb" as const, width: 1, height: 1 },
    payload: Uint8Array.of(1, 2, 3),
  },
  { message: { type: "cancelled" as const, job: "j", reason: "r" } },
];
const bytes = Buffer.concat(told.flatMap(toFrame));

function streamOf(size: number): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.subarray(at, at + size));
      controller.close();
    },
  });
}

test.each([1, 2, 5, 64, 1000])("frames are read whole from chunks of %i bytes", async (size) => {
  const messages = await Array.fromAsync(readMessages(streamOf(size)));
  expect(messages).toEqual([
    { type: "heartbeat" },
    {
      type: "preview",
      step: 1,
      format: "rgb",
      width: 1,
      height: 1,
      bytes: 3,
      payload: Uint8Array.of(1, 2, 3),
    },
    { type: "cancelled", job: "j", reason: "r" },
  ] as never);
});

test("an answer that breaks off is an error", async () => {
  const cut = new Response(bytes.subarray(0, bytes.length - 3)).body!;
  const outcome = await Array.fromAsync(readMessages(cut)).catch((error: unknown) => error);
  expect(String(outcome)).toContain("middle of a message");
});

test("it asks a server, hears problems, and leaving the loop frees the engine", async () => {
  const engine = fakeEngine();
  const server = listen(engine, { port: 0 });
  try {
    const types = await Array.fromAsync(
      generate({ prompt: "x", steps: 2 }, { url: server.url }),
      ({ type }) => type,
    );
    expect(types.at(-1)).toBe("result");
    const refused = await Array.fromAsync(
      generate({ prompt: "x", policy: "fst" }, { url: server.url }),
    ).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(TamiasRequestError);
    expect(refused).toMatchObject({ status: 422, problem: { code: "invalid_request" } });
    engine.hold();
    for await (const message of generate({ prompt: "x" }, { url: server.url }))
      if (message.type === "start") break;
    await until(() => engine.counts.ended >= 2);
    expect(engine.counts.ended).toBe(2);
  } finally {
    await server.stop(0);
  }
});

/** Compiles only while the client's types and the server's schemas agree. */
const agreements = {
  request: (request: GenerateRequest): z.input<ReturnType<typeof generateSchema>> => request,
  headers: (message: Message): ServerMessage => message,
  types: (type: ServerMessage["type"]): Message["type"] => type,
};

test("the client's types are the server's", () => {
  expect(Object.keys(agreements).length).toBe(3);
});
