import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { join } from "node:path";
import { generate, type Message } from "../../src/client/index.js";
import type { JobView } from "../../src/server/native/job-view.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { childrenOf, serve, type ServeProcess } from "./serve-process.ts";

const root = join(import.meta.dir, "../..");
const small = { prompt: "a red fox", width: 16, height: 16, steps: 3, policy: "exact", previews: 0 };

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let model: string;
let server: ServeProcess;

beforeAll(async () => {
  folder = await temporaryFolder();
  model = await makeTinyModel(folder.path);
  server = await serve(model);
});
afterAll(async () => {
  server.child.kill("SIGKILL");
  await folder[Symbol.asyncDispose]();
});

test("it streams a picture, and knows which sizes the model takes", async () => {
  const messages = await Array.fromAsync(generate({ ...small, previews: 1 }, server));
  expect(messages.map(({ type }) => type)).toEqual([
    "queued",
    "start",
    "step",
    "preview",
    "step",
    "step",
    "result",
  ] as Message["type"][]);
  const models = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: unknown[] };
  expect(models.data).toMatchObject([{ id: "flux-tiny", size_multiple: 16 }]);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  expect(Number(/^tamias_device_memory_bytes (\S+)$/m.exec(metrics)?.[1])).toBeGreaterThan(1000);
  const wrong = Array.fromAsync(generate({ ...small, width: 18 }, server));
  expect(await wrong.catch(String)).toContain("nearest are 16 and 32");
});

test("a client that hangs up frees the engine within one step", async () => {
  const last: number[] = [];
  for await (const message of generate({ ...small, steps: 1000 }, server)) {
    if (message.type === "step" && message.step === 2) break;
    if (message.type === "step") last.push(message.step);
  }
  expect((await Array.fromAsync(generate(small, server))).at(-1)?.type).toBe("result");
  const { jobs } = (await (await fetch(`${server.url}/v1/jobs`)).json()) as {
    jobs: { state: string; progress: { step: number } }[];
  };
  expect(jobs.find(({ state }) => state === "cancelled")?.progress.step).toBeLessThan(1000);
});

test("kill -9 of the device process is a clear error for its request, and the next one is served", async () => {
  const [device] = await childrenOf(server.child.pid);
  const seen: Message[] = [];
  let waiting: Promise<Message[]> | undefined;
  for await (const message of generate({ ...small, steps: 1000 }, server)) {
    seen.push(message);
    if (message.type !== "step" || message.step !== 1) continue;
    waiting = Array.fromAsync(generate(small, server));
    process.kill(device!, "SIGKILL");
  }
  expect(seen.at(-1)).toMatchObject({ type: "error", code: "device_lost", retry: true });
  expect(seen.filter(({ type }) => type === "error").length).toBe(1);
  expect((await waiting)?.at(-1)?.type).toBe("result");
  expect(await childrenOf(server.child.pid)).not.toContain(device!);
});

describe("a device that is frozen", () => {
  /** Starts a job, and freezes the device once it has made some steps. */
  async function freeze({ url, child }: ServeProcess) {
    const [device] = await childrenOf(child.pid);
    const response = await fetch(`${url}/v1/generate`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...small, steps: 1000, detach: true }),
    });
    const { id } = (await response.json()) as { id: string };
    const look = async () => (await (await fetch(`${url}/v1/jobs/${id}`)).json()) as JobView;
    while ((await look()).progress.step < 5) await Bun.sleep(5);
    process.kill(device!, "SIGSTOP");
    return { id, look, device: device! };
  }
  const secondsSince = (began: number) => (performance.now() - began) / 1000;

  test("in mid-run: its job is cancelled in time, the next is served soon, and /ready tells the truth", async () => {
    const other = await serve(model, "--stop", "3");
    const { id, look, device } = await freeze(other);
    const began = performance.now();
    await fetch(`${other.url}/v1/jobs/${id}`, { method: "DELETE" });
    const next = Array.fromAsync(generate(small, other));
    while ((await look()).state === "running") await Bun.sleep(20);
    expect((await look()).state).toBe("cancelled");
    expect(secondsSince(began)).toBeLessThan(3 + 2);
    expect((await next).at(-1)?.type).toBe("result");
    expect(secondsSince(began)).toBeLessThan(3 + 10);
    expect(await childrenOf(other.child.pid)).not.toContain(device);
    expect((await fetch(`${other.url}/ready`)).status).toBe(200);
    other.child.kill("SIGKILL");
  });

  test("and silent past its deadline: whoever waits gets a problem, and the next is served", async () => {
    const other = await serve(model, "--hang", "1");
    const { look } = await freeze(other);
    while ((await look()).state === "running") await Bun.sleep(20);
    expect((await look()).error).toMatchObject({
      code: "device_failed",
      message: expect.stringContaining("did nothing for"),
    });
    expect((await Array.fromAsync(generate(small, other))).at(-1)?.type).toBe("result");
    other.child.kill("SIGTERM");
    expect(await other.child.exited).toBe(0);
    expect(await other.child.stderr.text()).toContain("device process ended");
  });

  test("does not keep the server from ending", async () => {
    const other = await serve(model, "--stop", "1", "--drain", "0.5");
    const { device } = await freeze(other);
    const began = performance.now();
    other.child.kill("SIGTERM");
    expect(await other.child.exited).toBe(0);
    expect(secondsSince(began)).toBeLessThan(20);
    expect(() => process.kill(device, 0)).toThrow();
  });
});

test("a device that cannot be started again is a problem to each request, until it can", async () => {
  await using own = await temporaryFolder();
  const mine = await makeTinyModel(own.path);
  const other = await serve(mine);
  const index = join(mine, "model_index.json");
  const text = await Bun.file(index).text();
  await Bun.file(index).delete();
  process.kill((await childrenOf(other.child.pid))[0]!, "SIGKILL");
  const ask = () =>
    fetch(`${other.url}/v1/generate`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "image/png" },
      body: JSON.stringify(small),
    });
  const refused = await ask();
  expect(refused.status).toBe(503);
  expect(refused.headers.get("content-type")).toBe("application/problem+json");
  expect(await refused.json()).toMatchObject({
    code: "device_lost",
    detail: expect.stringContaining("There is no model"),
  });
  const ready = await fetch(`${other.url}/ready`);
  expect(ready.status).toBe(503);
  expect(await ready.json()).toMatchObject({ reason: expect.stringContaining("There is no model") });
  await Bun.write(index, text);
  expect((await ask()).status).toBe(200);
  expect((await fetch(`${other.url}/ready`)).status).toBe(200);
  other.child.kill("SIGKILL");
});

test("nonsense on the wire does not bring it down", async () => {
  const { hostname, port } = new URL(server.url);
  for (const text of [
    "\u0000\u0001\u0002\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    `POST /v1/generate HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"prompt":`,
    `POST /v1/generate HTTP/1.1\r\nHost: localhost:${port}\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n`,
    `GET /${"x".repeat(100_000)} HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`,
  ]) {
    const closed = Promise.withResolvers<void>();
    const socket = connect(Number(port), hostname, () => {
      socket.write(text);
      setTimeout(() => socket.destroy(), 50);
    });
    socket.on("close", () => closed.resolve());
    socket.on("error", () => {});
    await closed.promise;
  }
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
});

test.skipIf(!Bun.which("curl"))("the README's curl commands work as they stand there", async () => {
  const readme = await Bun.file(join(root, "README.md")).text();
  const commands = [...readme.matchAll(/^curl (?:[^\n]*\\\n)*[^\n]*/gm)].map(([command]) => command);
  expect(commands.length).toBeGreaterThan(1);
  for (const command of commands) {
    const here = command
      .replaceAll("http://127.0.0.1:8787", server.url)
      .replace(/"prompt": *"[^"]*"/, '"prompt": "a red fox", "width": 16, "height": 16, "steps": 3')
      .replace(/"size": *"[^"]*"/, '"size": "16x16"')
      .replace('"width": 16, "height": 16, "steps": 3, "size"', '"num_inference_steps": 3, "size"');
    const run = Bun.spawn(["bash", "-c", here], { cwd: folder.path, stdout: "pipe", stderr: "pipe" });
    const output = await run.stdout.text();
    expect({ here, code: await run.exited }).toEqual({ here, code: 0 });
    if (command.includes("text/event-stream")) {
      expect(output).toContain("event: step\n");
      expect(output).toContain("event: result\n");
    }
    if (command.includes("images/generations"))
      expect(output).toContain("event: image_generation.completed\n");
  }
});

test("SIGTERM lets the job that runs end, and the process ends well", async () => {
  const other = await serve(model);
  const reading = Array.fromAsync(generate({ ...small, steps: 100 }, other));
  for (;;) {
    const ready = (await (await fetch(`${other.url}/ready`)).json()) as { running: number };
    if (ready.running === 1) break;
  }
  other.child.kill("SIGTERM");
  expect((await reading).at(-1)?.type).toBe("result");
  expect(await other.child.exited).toBe(0);
  const log = (await other.child.stderr.text())
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).message as string);
  expect(log).toContain("stopping");
  expect(log).toContain("job ended");
});

test("an address that is taken is said in a sentence", async () => {
  const { port } = new URL(server.url);
  const outcome: unknown = await serve(model, "--port", port);
  expect(outcome).toMatchObject({
    error: { code: "io", message: `Cannot listen on 127.0.0.1, port ${port}: it is taken.` },
  });
  expect(await (outcome as { child: Bun.Subprocess }).child.exited).toBe(1);
});
