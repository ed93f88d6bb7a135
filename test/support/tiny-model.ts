import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

const goldens = join(import.meta.dir, "../goldens/flux-tiny");
const parts = ["model_index.json", "scheduler", "text_encoder", "text_encoder_2", "transformer", "vae"];
const words = [
  "<unk>",
  "<pad>",
  "</s>",
  "a",
  "red",
  "green",
  "blue",
  "fox",
  "owl",
  "apple",
  "on",
  "background",
];

/**
 * Makes a model out of the random weights in test/goldens/flux-tiny and a tokenizer of a dozen words (a red fox …):
 * it draws noise, at 16 x 16 pixels in a few milliseconds.
 * @returns its folder, in `parent`
 */
export async function makeTinyModel(parent: string): Promise<string> {
  const folder = join(parent, "flux-tiny");
  await mkdir(folder);
  for (const part of parts) await symlink(join(goldens, part), join(folder, part));
  for (const [name, length] of [
    ["tokenizer", 77],
    ["tokenizer_2", 16],
  ] as const) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "tokenizer.json"), JSON.stringify(tokenizer()));
    await writeFile(join(folder, name, "tokenizer_config.json"), JSON.stringify(settings(length)));
  }
  return folder;
}

function tokenizer() {
  return {
    version: "1.0",
    added_tokens: [0, 1, 2].map((id) => ({
      id,
      content: words[id],
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Whitespace" },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }],
      pair: [],
      special_tokens: { "</s>": { id: "</s>", ids: [2], tokens: ["</s>"] } },
    },
    decoder: null,
    model: {
      type: "WordLevel",
      unk_token: "<unk>",
      vocab: Object.fromEntries(words.map((word, id) => [word, id])),
    },
  };
}

function settings(length: number) {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    model_max_length: length,
    pad_token: "<pad>",
    eos_token: "</s>",
    unk_token: "<unk>",
  };
}
