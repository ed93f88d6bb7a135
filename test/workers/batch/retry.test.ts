import { expect, test } from "bun:test";
import { JetStreamApiError } from "@nats-io/jetstream";
import { PermissionViolationError, TimeoutError } from "@nats-io/transport-node";
import { retry, type RetryOptions } from "../../../workers/batch/nats/retry.ts";
import { failure } from "./support.ts";

const apiError = (code: number) =>
  new JetStreamApiError({ code, err_code: 1, description: "no such stream" });

function watched(options: Partial<RetryOptions> = {}) {
  const warnings: string[] = [];
  let tries = 0;
  const run = (errors: readonly Error[]) =>
    retry(
      async () => {
        const error = errors[Math.min(tries++, errors.length - 1)];
        if (error && tries <= errors.length) throw error;
        return "done";
      },
      {
        what: "Tasks cannot be asked for",
        signal: new AbortController().signal,
        patienceSeconds: 60,
        onWarning: (message) => warnings.push(message),
        ...options,
      },
    );
  return { run, warnings, tries: () => tries };
}

test("what fails while a server is away is tried again, and told once", async () => {
  const { run, warnings, tries } = watched();
  expect(await run([new TimeoutError(), apiError(503), new Error("disconnected")])).toBe("done");
  expect(tries()).toBe(4);
  expect(warnings).toEqual(["Tasks cannot be asked for: timeout. It is tried again for 60 s."]);
});

test("a server that stays away is a clear error in the end", async () => {
  const { run, tries } = watched({ patienceSeconds: 0.3 });
  const errors = Array.from({ length: 1000 }, () => new TimeoutError());
  expect(await failure(run(errors))).toMatchObject({
    code: "io",
    message: expect.stringMatching(
      /^Tasks cannot be asked for: the queue has been away for \d+ s \(timeout\)\.$/,
    ),
    hint: expect.stringContaining("--resume"),
  });
  expect(tries()).toBeLessThan(20);
});

test.each([
  ["not there", apiError(404)],
  ["refused by the server", new PermissionViolationError("no", "publish", "tamias.tasks")],
  ["refused beneath another error", new Error("request failed", { cause: apiError(400) })],
  ["a mistake of the program", new TypeError("undefined is no function")],
])("what is %s fails at once", async (_, error) => {
  const { run, tries, warnings } = watched();
  expect(await failure(run([error]))).toMatchObject({ code: "io", cause: error });
  expect([tries(), warnings.length]).toEqual([1, 0]);
});

test("a signal ends it while it waits", async () => {
  const stop = new AbortController();
  const { run } = watched({ signal: stop.signal });
  const running = failure(run(Array.from({ length: 1000 }, () => new TimeoutError())));
  setTimeout(() => stop.abort(), 100);
  expect(await running).toMatchObject({ code: "aborted" });
});
