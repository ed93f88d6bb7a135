import { expect, test } from "bun:test";
import { tryCli, Workplace } from "./fake-engine.ts";

test("help goes to stdout, and without a command to stderr", async () => {
  const asked = await tryCli(["--help"]);
  expect(asked).toMatchObject({ code: 0, stderr: "" });
  for (const command of ["generate", "serve", "verify", "models", "policies"])
    expect(asked.stdout).toContain(command);
  expect(await tryCli([])).toMatchObject({ code: 2, stdout: "" });
});

test("the version is the package's", async () => {
  const manifest = await Bun.file("package.json").json();
  expect(await tryCli(["--version"])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
});

test("policies lists names and what they are", async () => {
  const { stdout } = await tryCli(["policies"]);
  expect(stdout).toMatch(/^exact {2,}everything dense/);
  const json = JSON.parse((await tryCli(["policies", "--json"])).stdout);
  expect(json.policies.map(({ name }: { name: string }) => name)).toEqual([
    "exact",
    "chipmunk",
    "balanced",
    "fast",
  ]);
});

test("models prints an object with a list", async () => {
  const { code, stdout } = await tryCli(["models", "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ models: expect.any(Array) });
});

test("models words prints what a model knows, by kind", async () => {
  await using place = await Workplace.make({ concepts: ["fox", "owl"], colours: ["red"] });
  expect((await tryCli(["models", "words", place.model])).stdout).toBe(
    "concepts (2)\n  fox, owl\n\ncolours (1)\n  red\n",
  );
  expect(JSON.parse((await tryCli(["models", "words", place.model, "--json"])).stdout)).toEqual({
    model: "tiny",
    words: { concepts: ["fox", "owl"], colours: ["red"] },
  });
});

test("models words says so when there are none", async () => {
  await using place = await Workplace.make();
  const { code, stderr } = await tryCli(["models", "words", place.model]);
  expect(code).toBe(1);
  expect(stderr).toContain("tiny brings no list of words");
});

test("verify prints each part and fails when one is above tolerance", async () => {
  const { code, stdout } = await tryCli(["verify", "some/folder"]);
  expect(code).toBe(1);
  expect(stdout).toBe(
    [
      "part         relative L2 error  tolerance",
      "clip         2.50e-7            1e-4       ok",
      "transformer  3.10e-3            1e-4       ABOVE TOLERANCE",
      "",
    ].join("\n"),
  );
  const json = await tryCli(["verify", "some/folder", "--json"]);
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject({
    folder: "some/folder",
    ok: false,
    parts: [{ part: "clip" }, {}],
  });
});
