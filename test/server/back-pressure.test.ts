import { expect, test } from "bun:test";
import { MessageLog } from "../../src/server/jobs/message-log.ts";
import type { Message } from "../../src/server/jobs/messages.ts";
import { connect } from "node:net";
import { readMessages } from "../../src/client/index.js";
import { listen } from "../../src/server/listen.ts";
import { fakeEngine } from "./fake-engine.ts";
import { testServer, until } from "./support.ts";

const reading = { idleSeconds: 1, signal: new AbortController().signal };
const preview = (step: number): Message => ({ type: "preview", step, format: "rgb", width: 1, height: 1 });

test("a log keeps one preview, whatever is read", async () => {
  const log = new MessageLog();
  let made = 0;
  for (let step = 0; step < 100; step++)
    log.append(preview(step), async () => {
      made++;
      return new Uint8Array(1);
    });
  const first = await log.next(0, reading);
  expect(first).toMatchObject({ id: 100, message: { step: 99 } });
  expect(made).toBe(0);
  log.append({ type: "cancelled", job: "j", reason: "r" });
  expect(await log.next(0, reading)).toMatchObject({ message: { type: "cancelled" } });
  expect(await log.next(101, reading)).toBeUndefined();
  expect(() => log.append(preview(0))).toThrow("after the end");
});

test("a reader that takes nothing holds up nobody, and misses previews only", async () => {
  const { post, engine } = testServer();
  const response = await post("/v1/generate", {
    prompt: "x",
    steps: 150,
    previews: 100,
    preview_format: "rgb",
  });
  const quick = await post("/v1/generate", { prompt: "x", steps: 2 }, { accept: "image/png" });
  expect(quick.status).toBe(200);
  // Both have run to their end; the first was not read at all.
  expect(engine.counts.ended).toBe(2);
  const types = (await Array.fromAsync(readMessages(response.body!))).map(({ type }) => type);
  expect(types.filter((type) => type === "step").length).toBe(150);
  expect(types.filter((type) => type === "preview").length).toBeLessThan(5);
  expect(types.at(-1)).toBe("result");
});

test("a reader that stalls is let go", async () => {
  const { post, engine } = testServer({ stallSeconds: 0.05 });
  engine.hold();
  const response = await post("/v1/generate", { prompt: "x", steps: 50 });
  const id = response.headers.get("x-job-id");
  // "queued" and "start" fill what is kept ahead of a reader.
  await until(() => engine.counts.ended >= 1);
  expect(engine.counts.ended).toBe(1);
  expect(id).toStartWith("job_");
  const outcome = await response.bytes().then(
    () => "read",
    () => "broken",
  );
  expect(outcome).toBe("broken");
});

test("a waiting stream gives signs of life", async () => {
  const { post, engine } = testServer({ heartbeatSeconds: 0.02 });
  engine.hold();
  const running = await post("/v1/generate", { prompt: "x", steps: 2 });
  const waiting = await post("/v1/generate", { prompt: "x", steps: 2 });
  const types: string[] = [];
  for await (const { type } of readMessages(waiting.body!)) if (types.push(type) === 4) break;
  expect(types).toEqual(["queued", "queued", "queued", "queued"]);
  const seen: string[] = [];
  for await (const { type } of readMessages(running.body!)) if (seen.push(type) === 4) break;
  expect(seen.slice(0, 2)).toEqual(["queued", "start"]);
  expect(seen.slice(2)).toEqual(["heartbeat", "heartbeat"]);
});

test("a socket that is not read makes the server keep nothing but what the system buffers", async () => {
  const engine = fakeEngine();
  engine.hold();
  const server = listen(engine, { port: 0 });
  const steps = 60;
  const size = 512;
  const formats = { preview_format: "rgb", output_format: "rgb" };
  const body = JSON.stringify({ prompt: "x", steps, width: size, height: size, previews: steps, ...formats });
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  try {
    socket.pause();
    socket.write(
      `POST /v1/generate HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
    for (let step = 0; step < steps; step++) {
      await engine.step();
      // Time for the server to write what it would.
      await Bun.sleep(5);
    }
    await until(() => engine.counts.ended === 1);
    let received = 0;
    const closed = Promise.withResolvers<void>();
    socket.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    socket.on("close", () => closed.resolve());
    socket.resume();
    await closed.promise;
    const pictures = received / (size * size * 3);
    // The result and what filled the buffers; all 60 would have been there had they been kept.
    expect(pictures).toBeGreaterThan(1);
    expect(pictures).toBeLessThan(steps / 2);
  } finally {
    socket.destroy();
    await server.stop(0);
  }
});
