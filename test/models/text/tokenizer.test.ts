import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { TextTokenizer } from "../../../src/models/text/tokenizer.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const folder = join(import.meta.dir, "../../goldens/acorn-tokenizer");
const fox = "3d render of a fox on a sky blue background";
let tokenizer: TextTokenizer;

beforeAll(async () => {
  tokenizer = await TextTokenizer.open(folder);
});

describe("a Unigram tokenizer with byte fallback", () => {
  test("gives the ids of the reference implementation, odd Unicode included", async () => {
    const golden: { text: string; ids: number[] }[] = await Bun.file(join(folder, "golden.json")).json();
    expect(golden.length).toBeGreaterThan(20);
    for (const { text, ids } of golden) {
      expect([text, ...tokenizer.encode(text, ids.length)]).toEqual([text, ...ids]);
      expect(tokenizer.countTokens(text)).toBe(ids.length);
    }
  });

  test("reads its settings", () => {
    expect([tokenizer.padId, tokenizer.eosId, tokenizer.maxLength]).toEqual([0, 1, 77]);
  });

  test("pads to the length asked for", () => {
    const count = tokenizer.countTokens(fox);
    for (const length of [77, 128]) {
      const ids = tokenizer.encode(fox, length);
      expect(ids.length).toBe(length);
      expect(ids[count - 1]).toBe(tokenizer.eosId);
      expect(ids.subarray(count).every((id) => id === tokenizer.padId)).toBe(true);
    }
  });

  test("keeps the end token when it cuts", () => {
    const whole = tokenizer.encode(fox, tokenizer.countTokens(fox));
    for (let length = 1; length < whole.length; length++) {
      expect([...tokenizer.encode(fox, length)]).toEqual([...whole.slice(0, length - 1), tokenizer.eosId]);
    }
  });

  test("an empty prompt is an end token and padding", () => {
    expect([...tokenizer.encode("", 4)]).toEqual([1, 0, 0, 0]);
  });

  test("takes 10,000 characters, with spaces or without, and lone surrogates", () => {
    for (const text of ["fox é 狐 ".repeat(1250), "狐a".repeat(5000), "\ud83e".repeat(10_000)]) {
      const ids = tokenizer.encode(text, 77);
      expect(ids.length).toBe(77);
      expect(ids[76]).toBe(tokenizer.eosId);
      expect(ids.every((id) => id >= 0 && id < 4096)).toBe(true);
    }
  });

  test("refuses impossible lengths", () => {
    for (const length of [0, -1, 1.5, Number.NaN])
      expect(() => tokenizer.encode(fox, length)).toThrow("length");
  });
});

describe("a CLIP folder with vocab.json and merges.txt", () => {
  const alphabet = [..."abcdefghijklmnopqrstuvwxyz0123456789'!"];
  const pieces = [
    ...alphabet,
    ...alphabet.map((letter) => `${letter}</w>`),
    "fo",
    "fox</w>",
    "re",
    "red</w>",
  ];
  const vocabulary = Object.fromEntries(
    [...pieces, "<|startoftext|>", "<|endoftext|>"].map((piece, id) => [piece, id]),
  );
  const merges = "#version: 0.2\nf o\nfo x</w>\nr e\nre d</w>\n";
  const config = {
    eos_token: { content: "<|endoftext|>" },
    pad_token: "<|endoftext|>",
    model_max_length: 77,
  };
  const ids = (...names: string[]) => names.map((name) => vocabulary[name]!);

  async function openClip(): Promise<TextTokenizer> {
    await using clip = await temporaryFolder();
    await Bun.write(join(clip.path, "vocab.json"), JSON.stringify(vocabulary));
    await Bun.write(join(clip.path, "merges.txt"), merges);
    await Bun.write(join(clip.path, "tokenizer_config.json"), JSON.stringify(config));
    return await TextTokenizer.open(clip.path);
  }

  test("lower-cases, splits words and digits, merges, and frames the prompt", async () => {
    const clip = await openClip();
    const expected = ids(
      "<|startoftext|>",
      "red</w>",
      "fox</w>",
      "'",
      "s</w>",
      "1</w>",
      "2</w>",
      "!",
      "!</w>",
      "<|endoftext|>",
    );
    // "'s" is one word of two pieces.
    expect([...clip.encode("Red  FOX's 12!!", expected.length)]).toEqual(expected);
    expect([...clip.encode("red", 5)]).toEqual(
      ids("<|startoftext|>", "red</w>", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"),
    );
  });

  test("a long prompt keeps start and end token", async () => {
    const clip = await openClip();
    const encoded = clip.encode("fox ".repeat(200), 77);
    expect([encoded[0], encoded[1], encoded[75], encoded[76]]).toEqual(
      ids("<|startoftext|>", "fox</w>", "fox</w>", "<|endoftext|>"),
    );
  });
});

describe("a damaged folder", () => {
  test.each([
    ["missing", "not_found", {}],
    ["no JSON", "bad_weights", { "tokenizer.json": "{", "tokenizer_config.json": "{}" }],
    ["no model", "bad_weights", { "tokenizer.json": "{}", "tokenizer_config.json": "{}" }],
    [
      "no pad token",
      "bad_weights",
      { "tokenizer.json": '{"model":{}}', "tokenizer_config.json": '{"eos_token":"</s>"}' },
    ],
    [
      "an empty model",
      "bad_weights",
      { "tokenizer.json": '{"model":{}}', "tokenizer_config.json": '{"eos_token":"a","pad_token":"b"}' },
    ],
  ])("%s: a clear error", async (_, code, files: Record<string, string>) => {
    await using damaged = await temporaryFolder();
    for (const [name, text] of Object.entries(files)) await Bun.write(join(damaged.path, name), text);
    const open = TextTokenizer.open(damaged.path);
    await expect(open).rejects.toMatchObject({ name: "TamiasError", code });
  });
});
