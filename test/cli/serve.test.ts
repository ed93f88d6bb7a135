import { expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { parseApiKeys } from "../../src/cli/api-keys.ts";
import { textLogger } from "../../src/cli/text-log.ts";
import { tryCli, Workplace } from "./fake-engine.ts";

/** Runs `serve` until it listens and `visit` is done, then interrupts it. */
async function serveWhile(args: string[], visit: (url: string) => Promise<void>) {
  const place = await Workplace.make();
  const interrupt = new AbortController();
  const port = 20_000 + Math.floor(Math.random() * 30_000);
  const outcome = tryCli(["serve", "--model", place.model, "--port", String(port), ...args], {
    signal: interrupt.signal,
  });
  const url = `http://127.0.0.1:${port}`;
  try {
    for (let tries = 0; !(await fetch(`${url}/health`).catch(() => undefined)); tries++) {
      if (tries > 500) throw new Error("It does not listen.");
      await Bun.sleep(5);
    }
    await visit(url);
  } finally {
    interrupt.abort();
    await place[Symbol.asyncDispose]();
  }
  return await outcome;
}

test("serve says where it listens, answers, and ends well when interrupted", async () => {
  const { code, stdout, stderr } = await serveWhile(["--max-steps", "7"], async (url) => {
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: unknown[] };
    expect(data).toMatchObject([{ max_steps: 7 }]);
  });
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^acorn-image on Synthetic CPU, 2 threads at http:\/\/127\.0\.0\.1:\d+ \(loaded in .*\)\n$/,
  );
  // Not on a terminal, so that its log is JSON.
  const lines = stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { message: string });
  expect(lines.map(({ message }) => message)).toContain("stopping");
});

test("keys from a file are asked for, and never shown", async () => {
  const place = await Workplace.make();
  const file = place.path("keys");
  await writeFile(file, "# ours\nann ann-secret-key\n\nbob-secret-key\n");
  const { stdout, stderr } = await serveWhile(["--api-keys", file], async (url) => {
    expect((await fetch(`${url}/v1/jobs`)).status).toBe(401);
    for (const key of ["ann-secret-key", "bob-secret-key"])
      expect((await fetch(`${url}/v1/jobs`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(
        200,
      );
  });
  expect(stdout + stderr).not.toContain("secret");
  expect(stderr).toContain('"owner":"ann"');
  expect(stderr).toContain('"owner":"key 4"');
  await place[Symbol.asyncDispose]();
});

test("what is no key is refused by its line, without repeating it", () => {
  expect(parseApiKeys("one-long-key\nann another-key", "K")).toEqual([
    { name: "key 1", key: "one-long-key" },
    { name: "ann", key: "another-key" },
  ]);
  for (const text of ["short", "good-enough\nann a b c", "", "# nothing"])
    expect(() => parseApiKeys(text, "K")).toThrow(
      /^K(?:, line \d+: this is no API key| holds no API key)\.$/,
    );
});

test("an address in use, an unknown model and a wrong option are said in words", async () => {
  const taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const place = await Workplace.make();
  const busy = await tryCli(["serve", "--model", place.model, "--port", String(taken.port)]);
  expect(busy.code).toBe(1);
  expect(busy.stderr).toContain(`port ${taken.port}: it is taken`);
  await taken.stop(true);
  expect((await tryCli(["serve", "--model", "no-such-model"])).code).toBe(1);
  expect((await tryCli(["serve", "--prot", "80"])).stderr).toContain("--port");
  expect((await tryCli(["serve", "--port", "99999"])).code).toBe(2);
  await place[Symbol.asyncDispose]();
});

test("log lines for people leave out what is not there", () => {
  let line = "";
  const log = textLogger((text) => {
    line = text;
  });
  log("warn", "request", { status: 200, job: undefined, error: "two words" });
  expect(line).toMatch(/^\d\d:\d\d:\d\d warn: request status=200 error="two words"\n$/);
});
