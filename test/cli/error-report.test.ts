import { expect, test } from "bun:test";
import { TamiasError } from "../../ffi/errors.ts";
import { describeError } from "../../src/cli/error-report.ts";
import { fakeEngine, tryCli, Workplace } from "./fake-engine.ts";

/** A model that fails, and then fails to close. */
const failing = {
  ...fakeEngine(),
  open: async () => ({
    async *generate() {
      yield* [];
      throw new TamiasError("out_of_memory", "There is no room for 12 GB.", { hint: "Take a smaller size." });
    },
    [Symbol.asyncDispose]: async () => {
      throw new TamiasError("device_failed", "The device cannot be closed.");
    },
  }),
};

test("the first error is what a person and a program read, the later ones go with it", async () => {
  await using place = await Workplace.make();
  const args = ["generate", "a fox", "--model", place.model, "--out", place.path("x.png"), "--quiet"];
  const { code, stderr } = await tryCli(args, { engine: failing });
  expect(code).toBe(1);
  expect(stderr).toBe(
    "tamias: There is no room for 12 GB.\n  hint: Take a smaller size.\n  afterwards: The device cannot be closed.\n",
  );
  const { stdout } = await tryCli([...args, "--json"], { engine: failing });
  expect(JSON.parse(stdout)).toEqual({
    error: {
      code: "out_of_memory",
      message: "There is no room for 12 GB.",
      hint: "Take a smaller size.",
      later: ["The device cannot be closed."],
    },
  });
});

test("a mistake in Tamias keeps its own trace", () => {
  const first = new Error("a bug");
  const report = describeError(new SuppressedError(new Error("closing failed"), first));
  expect(report).toEqual({
    code: "internal",
    message: "A mistake in Tamias itself: a bug",
    trace: first.stack!,
    later: ["closing failed"],
  });
});
