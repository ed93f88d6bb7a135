// Clients of every kind on a server whose device process is killed and frozen at random moments.
import { expect, test } from "bun:test";
import { setTimeout as sleep } from "node:timers/promises";
import { generate } from "../../src/client/index.js";
import type { JobView } from "../../src/server/native/job-view.ts";
import { makeTinyModel } from "../support/tiny-model.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { Random } from "./fuzz/random.ts";
import { childrenOf, serve } from "./serve-process.ts";

const SECONDS = 12;
const CLIENTS = 5;
/** A request that is not over by then is stuck. */
const STUCK_SECONDS = 90;

/** How requests may end; anything else is a fault. */
const ends = new Set(["result", "device_failed", "device_lost", "cancelled", "left"]);

test("every request ends, in one of the ways that are foreseen, and the server recovers", async () => {
  await using folder = await temporaryFolder();
  const model = await makeTinyModel(folder.path);
  const { url, child } = await serve(model, "--stop", "1", "--hang", "1", "--drain", "1");
  using _ = { [Symbol.dispose]: () => child.kill("SIGKILL") };
  const log = child.stderr.text();
  const random = new Random(Date.now());
  const until = performance.now() + SECONDS * 1000;
  const isOn = () => performance.now() < until;
  const seen = new Map<string, number>();

  const post = (body: object, accept = "application/json") =>
    fetch(`${url}/v1/generate`, {
      method: "POST",
      headers: { "content-type": "application/json", accept },
      body: JSON.stringify(body),
    });
  const kinds = {
    async streamed(body: object) {
      let end = "";
      for await (const message of generate(body as never, { url }))
        end = message.type === "error" ? message.code : message.type;
      return end;
    },
    async left(body: object) {
      let count = 0;
      for await (const message of generate(body as never, { url })) if (++count > 3 || !message) break;
      return "left";
    },
    async closed(body: object) {
      const closing = new AbortController();
      setTimeout(() => closing.abort(), random.below(400));
      await Array.fromAsync(generate(body as never, { url, signal: closing.signal })).catch(() => {});
      return "left";
    },
    async waited(body: object) {
      const response = await post(body, "image/png");
      if (response.status === 200) return (await response.bytes()).length > 0 ? "result" : "empty";
      expect(response.headers.get("content-type")).toBe("application/problem+json");
      return ((await response.json()) as { code: string }).code;
    },
    async followed(body: object) {
      const { id } = (await (await post({ ...body, detach: true })).json()) as JobView;
      await (await fetch(`${url}/v1/jobs/${id}/events`)).text();
      const job = (await (await fetch(`${url}/v1/jobs/${id}`)).json()) as JobView;
      return job.error?.code ?? (job.state === "succeeded" ? "result" : job.state);
    },
    async cancelled(body: object) {
      const { id } = (await (await post({ ...body, detach: true })).json()) as JobView;
      await sleep(random.below(400));
      await fetch(`${url}/v1/jobs/${id}`, { method: "DELETE" });
      for (;;) {
        const job = (await (await fetch(`${url}/v1/jobs/${id}`)).json()) as JobView;
        if (job.ended_at !== null) return job.error?.code ?? "result";
        await sleep(20);
      }
    },
  };
  const names = Object.keys(kinds) as (keyof typeof kinds)[];
  const client = async () => {
    while (isOn()) {
      const name = random.pick(names);
      const steps = random.pick([1, 5, 50, 300]);
      const body = { prompt: "a red fox", width: 16, height: 16, steps, columns: random.chance(0.5) };
      const stuck = sleep(STUCK_SECONDS * 1000, `${name} is stuck`, { ref: false });
      const end = await Promise.race([kinds[name](body), stuck]);
      seen.set(end, (seen.get(end) ?? 0) + 1);
    }
  };
  const disturb = async () => {
    while (isOn()) {
      await sleep(100 + random.below(900));
      const [device] = await childrenOf(child.pid);
      if (device === undefined) continue;
      try {
        process.kill(device, random.chance(0.5) ? "SIGKILL" : "SIGSTOP");
        if (random.chance(0.7)) continue;
        await sleep(random.below(1500));
        process.kill(device, "SIGCONT");
      } catch {
        // It has been ended meanwhile.
      }
    }
  };
  await Promise.all([disturb(), ...Array.from({ length: CLIENTS }, client)]);
  expect([...seen.keys()].filter((end) => !ends.has(end))).toEqual([]);
  expect(seen.get("result")).toBeGreaterThan(0);

  // A device that was frozen last may still have to be found out.
  const last = { prompt: "a red fox", width: 16, height: 16, steps: 2 };
  let status = 0;
  for (let tries = 0; status !== 200 && tries < 3; tries++) status = (await post(last, "image/png")).status;
  expect(status).toBe(200);
  expect((await fetch(`${url}/ready`)).status).toBe(200);
  expect((await childrenOf(child.pid)).length).toBe(1);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  expect(await log).not.toContain('"mistake"');
});
