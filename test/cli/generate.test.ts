import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { TamiasError } from "../../ffi/errors.ts";
import { decodePng } from "../../src/media/png.ts";
import { fakeEngine, tryCli, Workplace } from "./fake-engine.ts";

describe("what it prints", () => {
  test("in a pipe: plain lines on stderr, the picture's path on stdout", async () => {
    await using place = await Workplace.make();
    const out = place.path("fox.png");
    const { code, stdout, stderr } = await tryCli([
      "generate",
      "a fox",
      "--model",
      place.model,
      "--out",
      out,
    ]);
    expect(code).toBe(0);
    expect(stdout).toBe(`${out}\n`);
    const lines = stderr.trimEnd().split("\n");
    expect(lines).toContain("loading tiny");
    expect(lines).toContainEqual(
      expect.stringMatching(/^step 3\/20: delta, 0\.40 s, density \d+ % \(attention/),
    );
    expect(lines).toContainEqual(expect.stringMatching(/^step 19\/20: skip/));
    expect(stderr).not.toContain("\x1b");
    expect(stderr).not.toContain("\r");
  });

  test("on a terminal: one line that is overwritten, never wider than the terminal", async () => {
    await using place = await Workplace.make();
    const { stderr } = await tryCli(
      ["generate", "a fox", "--model", place.model, "--out", place.path("fox.png")],
      { terminal: true },
    );
    const shown = stderr.split("\x1b[K").map((text) => text.replace(/\r$/, ""));
    const bars = shown.filter((text) => text.includes("░") || text.includes("█"));
    expect(bars).toHaveLength(21);
    expect(bars.at(-1)).toMatch(/20\/20 {2}0\.40 s\/step {2}delta {4}density \d+ % {2}ETA 0\.00 s/);
    for (const text of bars) expect([...text].length).toBeLessThan(100);
  });

  test("quiet: only the path", async () => {
    await using place = await Workplace.make({ concepts: ["fox"] });
    const out = place.path("fox.png");
    const run = await tryCli(["generate", "a fxo", "--model", place.model, "--out", out, "--quiet"]);
    expect(run).toEqual({ code: 0, stdout: `${out}\n`, stderr: "" });
  });

  test("--json: one object with everything a program wants", async () => {
    await using place = await Workplace.make();
    const args = ["--steps", "6", "--seed", "3", "--json", "--preview-every", "2"];
    const files = [
      "--out",
      place.path("a.png"),
      "--heatmap",
      place.path("b.png"),
      "--preview-dir",
      place.path("c"),
    ];
    const { code, stdout } = await tryCli(["generate", "a fox", "--model", place.model, ...args, ...files]);
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      device: "Synthetic CPU, 2 threads",
      settings: { prompt: "a fox", seed: 3, steps: 6, policy: "balanced", width: 128, height: 128 },
      tokens: { image: 256, text: 64 },
      seconds: { encode: 0.01, denoise: 5, decode: 0.5 },
      files: {
        picture: place.path("a.png"),
        heatmap: place.path("b.png"),
        previews: [place.path("c/step-2.png"), place.path("c/step-4.png")],
      },
    });
    expect(report.seconds.total).toBeCloseTo(report.seconds.load + 5.51, 6);
    expect(report.secondsPerStep).toBe(0.7);
    expect(report.steps.map(({ action }: { action: string }) => action)).toEqual([
      "dense",
      "refresh",
      "delta",
      "delta",
      "skip",
      "refresh",
    ]);
    expect(Object.keys(report.steps[0])).toEqual([
      "step",
      "sigma",
      "action",
      "seconds",
      "density",
      "attentionDensity",
      "mlpDensity",
    ]);
    expect(Object.keys(report.density)).toEqual(["mean", "attention", "mlp"]);
    for (const path of [report.files.picture, report.files.heatmap, ...report.files.previews])
      expect((await readFile(path)).subarray(1, 4).toString()).toBe("PNG");
  });

  test("the picture tells how it was made", async () => {
    await using place = await Workplace.make();
    const out = place.path("a.png");
    await tryCli(["generate", "a fox on blue", "--model", place.model, "--seed", "11", "--out", out]);
    expect(decodePng(await readFile(out)).metadata).toEqual({
      Software: expect.stringMatching(/^Tamias \d/),
      prompt: "a fox on blue",
      model: "acorn-image",
      seed: "11",
      steps: "20",
      guidance: "3.5",
      policy: "balanced",
      width: "128",
      height: "128",
      device: "Synthetic CPU, 2 threads",
      density: expect.stringMatching(/^0\.\d{4}$/),
      attentionDensity: expect.stringMatching(/^0\.\d{4}$/),
      mlpDensity: expect.stringMatching(/^0\.\d{4}$/),
    });
  });
});

describe("policies", () => {
  const settings = { attention: null, mlp: null };

  test.each([
    ["a name", "fast", "fast"],
    ["JSON", JSON.stringify(settings), "custom"],
  ])("as %s", async (_, policy, name) => {
    await using place = await Workplace.make();
    const out = ["--out", place.path("a.png"), "--json"];
    const { stdout } = await tryCli(["generate", "a", "--model", place.model, "--policy", policy, ...out]);
    expect(JSON.parse(stdout).settings.policy).toBe(name);
  });

  test("as a file; its settings are part of the report", async () => {
    await using place = await Workplace.make();
    await writeFile(place.path("mine.json"), JSON.stringify(settings));
    const args = ["--policy", place.path("mine.json"), "--out", place.path("a.png"), "--json"];
    const { stdout } = await tryCli(["generate", "a", "--model", place.model, ...args]);
    expect(JSON.parse(stdout)).toMatchObject({ settings: { policy: "custom" }, policySettings: settings });
  });
});

describe("words the model does not know", () => {
  const words = {
    concepts: ["fox", "hot air balloon"],
    colours: ["sky blue"],
    relations: ["to the left of"],
  };

  test("get a note with the nearest known word", async () => {
    await using place = await Workplace.make(words);
    const prompt = "a foxx and a baloon to the left of a spectrograph on sky blue";
    const args = ["generate", prompt, "--model", place.model, "--out", place.path("a.png")];
    const { code, stderr } = await tryCli(args);
    expect(code).toBe(0);
    expect(stderr.split("\n").filter((line) => line.startsWith("note:"))).toEqual([
      'note: tiny does not know "foxx"; did you mean "fox"?',
      'note: tiny does not know "baloon"; did you mean "balloon"?',
      'note: tiny does not know "spectrograph"; `tamias models words tiny` lists what it knows.',
    ]);
  });

  test("pass silently where a model brings no list", async () => {
    await using place = await Workplace.make();
    const { stderr } = await tryCli([
      "generate",
      "zzz",
      "--model",
      place.model,
      "--out",
      place.path("a.png"),
    ]);
    expect(stderr).not.toContain("note:");
  });
});

describe("bad input", () => {
  const usage: [string, string[], RegExp][] = [
    ["no prompt", ["generate"], /missing required argument 'prompt'/],
    ["two prompts", ["generate", "a", "b"], /too many arguments/],
    [
      "a misspelt option",
      ["generate", "a", "--stpes", "3"],
      /unknown option '--stpes'\n\(Did you mean --steps\?\)/,
    ],
    ["a misspelt command", ["generat", "a"], /unknown command 'generat'\n\(Did you mean generate\?\)/],
    ["an unknown device", ["generate", "a", "--device", "tpu"], /Allowed choices are auto, cpu, cuda/],
    [
      "size and width",
      ["generate", "a", "--size", "64", "--width", "64"],
      /cannot be used with option '--width/,
    ],
    ...["0", "-5", "1.5", "NaN", "1e3", "0x10", "", "1001", "Infinity", "99999999999999999999", "2O"].map(
      (value): [string, string[], RegExp] => [
        `--steps ${value}`,
        ["generate", "a", "--steps", value],
        /It must be a whole number from 1 to 1000\./,
      ],
    ),
    ["--seed -1", ["generate", "a", "--seed", "-1"], /It must be a whole number, 0 or more\./],
    [
      "--seed 2^53",
      ["generate", "a", "--seed", "9007199254740993"],
      /It must be a whole number, 0 or more\./,
    ],
    ["--size 8208", ["generate", "a", "--size", "8208"], /It must be a whole number from 16 to 8192\./],
    ["--height -64", ["generate", "a", "--height", "-64"], /It must be a whole number from 16 to 8192\./],
    ["--threads 0", ["generate", "a", "--threads", "0"], /It must be a whole number from 1 to 1024\./],
    [
      "--preview-every 0",
      ["generate", "a", "--preview-every", "0"],
      /It must be a whole number from 1 to 1000\./,
    ],
    ...["NaN", "-1", "101", "Infinity", "", "."].map((value): [string, string[], RegExp] => [
      `--guidance ${value}`,
      ["generate", "a", "--guidance", value],
      /It must be a number from 0 to 100\./,
    ]),
  ];

  test.each(usage)("%s: exit 2", async (_, args, message) => {
    const { code, stdout, stderr } = await tryCli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
  });

  const failures: [string, string, string[], string, RegExp][] = [
    ["an empty prompt", "", [], "bad_input", /prompt must not be empty|prompt: must not be empty/],
    ["a blank prompt", " \n", [], "bad_input", /must not be empty/],
    ["a 10,000-character prompt", "a".repeat(10_000), [], "bad_input", /10000 characters; at most/],
    ["an unknown model", "a", ["--model", "gone"], "not_found", /There is no model "gone"/],
    ["an unknown policy", "a", ["--policy", "balancd"], "not_found", /There is no policy "balancd"/],
    [
      "a policy file that is missing",
      "a",
      ["--policy", "./gone.json"],
      "not_found",
      /gone\.json cannot be read/,
    ],
    [
      "a policy that is no JSON",
      "a",
      ["--policy", "{oops"],
      "bad_input",
      /The policy's JSON is not valid JSON/,
    ],
    [
      "a policy out of range",
      "a",
      ["--policy", '{"attention":{"select":{"kind":"topK","density":2},"refresh":{"every":4}},"mlp":null}'],
      "bad_input",
      /policy at "attention\.select\.density"/,
    ],
    ["a policy with a stranger's key", "a", ["--policy", '{"speed":9}'], "bad_input", /^policy/],
    ["an output that is no PNG", "a", ["--out", "a.jpg"], "bad_input", /a\.jpg .* must end with \.png/],
    [
      "one file for two pictures",
      "a",
      ["--out", "a.png", "--heatmap", "a.png"],
      "bad_input",
      /cannot both go to/,
    ],
  ];

  test.each(failures)(
    "%s: exit 1 before anything is loaded",
    async (_, prompt, extra, errorCode, message) => {
      await using place = await Workplace.make();
      const engine = {
        ...fakeEngine(),
        open: () => Promise.reject(new Error("must not be opened")),
      };
      const model = extra.includes("--model") ? [] : ["--model", place.model];
      const { code, stdout, stderr } = await tryCli(["generate", prompt, ...model, ...extra], { engine });
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toStartWith("tamias: ");
      expect(stderr).not.toMatch(/^\s+at /m);

      const json = await tryCli(["generate", prompt, ...model, ...extra, "--json"], { engine });
      expect(json.code).toBe(1);
      const { error } = JSON.parse(json.stdout);
      expect(error.code).toBe(errorCode);
      expect(error.message).toMatch(message);
    },
  );

  test("a mistake in the command line is told as JSON too", async () => {
    const { code, stdout } = await tryCli(["generate", "a", "--stpes", "3", "--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      error: { code: "usage", message: "unknown option '--stpes'", hint: "Did you mean --steps?" },
    });
  });

  test("a folder as the output, or a file as its folder", async () => {
    await using place = await Workplace.make();
    await mkdir(place.path("folder.png"));
    await writeFile(place.path("file"), "");
    for (const [out, message] of [
      [place.path("folder.png"), "is a folder"],
      [place.path("file/a.png"), "is not a folder"],
    ] as const) {
      const { code, stderr } = await tryCli(["generate", "a", "--model", place.model, "--out", out]);
      expect(code).toBe(1);
      expect(stderr).toContain(message);
    }
  });

  // root may write anywhere
  test.skipIf(process.getuid?.() === 0)("a read-only folder", async () => {
    await using place = await Workplace.make();
    await mkdir(place.path("locked"));
    await chmod(place.path("locked"), 0o555);
    const out = place.path("locked/new/a.png");
    const { code, stderr } = await tryCli(["generate", "a", "--model", place.model, "--out", out]);
    expect(code).toBe(1);
    expect(stderr).toContain(`The folder ${place.path("locked")} cannot be written to.`);
  });

  test("a folder that cannot be made after all", async () => {
    await using place = await Workplace.make();
    const args = ["--out", "/proc/tamias/a.png", "--quiet"];
    const { code, stderr } = await tryCli(["generate", "a", "--model", place.model, ...args]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^tamias: The folder \/proc\S* cannot be .*\n( {2}hint: .*\n)?$/);
  });

  test("an error of the engine is one sentence with its hint", async () => {
    await using place = await Workplace.make();
    const refusal = new TamiasError("bad_input", "width: 100 is not a multiple of 8.", { hint: "Try 96." });
    const engine = { ...fakeEngine(), open: () => Promise.reject(refusal) };
    const args = ["generate", "a", "--model", place.model, "--quiet", "--out", place.path("a.png")];
    const { code, stderr } = await tryCli(args, { engine });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: "tamias: width: 100 is not a multiple of 8.\n  hint: Try 96.\n",
    });
    expect(await readdir(place.folder)).toEqual(["tiny"]);
  });
});

describe("interruption", () => {
  test("stops between steps with 130 and leaves no picture", async () => {
    await using place = await Workplace.make();
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 120);
    const args = ["generate", "a", "--model", place.model, "--out", place.path("a.png"), "--json"];
    const { code, stdout } = await tryCli(args, {
      engine: fakeEngine({ secondsPerStep: 0.05 }),
      signal: abort.signal,
    });
    expect(code).toBe(130);
    expect(JSON.parse(stdout).error.code).toBe("aborted");
    expect(existsSync(place.path("a.png"))).toBe(false);
  });

  test("does not wait for loading", async () => {
    await using place = await Workplace.make();
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    const engine = { ...fakeEngine(), open: () => new Promise<never>(() => {}) };
    const args = ["generate", "a", "--model", place.model, "--out", place.path("a.png")];
    const { code } = await tryCli(args, { engine, signal: abort.signal });
    expect(code).toBe(130);
  });
});
