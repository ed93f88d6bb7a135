import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { TamiasError } from "../../../ffi/errors.ts";
import { parseWith, readJsonObject } from "../../weights/json-file.ts";
import { clipTokenizerDefinition, clipVocabularySchema } from "./clip-tokenizer.ts";

const specialToken = z.union([
  z.string(),
  z.object({ content: z.string() }).transform((token) => token.content),
]);
const configSchema = z.looseObject({
  eos_token: specialToken,
  pad_token: specialToken,
  model_max_length: z.number().positive().optional(),
});
const tokenizerSchema = z.looseObject({
  model: z.looseObject({ type: z.string().optional(), byte_fallback: z.boolean().optional() }),
});

/** Turns prompts into the token ids that a text encoder was trained on. */
export class TextTokenizer {
  /** The id that fills a sequence up to its length. */
  readonly padId: number;
  /** The id that ends a prompt. */
  readonly eosId: number;
  /** The longest sequence the text encoder takes, in tokens; undefined when the folder does not say. */
  readonly maxLength: number | undefined;
  readonly #tokenizer: Tokenizer;
  readonly #fallsBackToBytes: boolean;

  /**
   * @param definition the content of `tokenizer.json`
   * @param config the content of `tokenizer_config.json`: `eos_token`, `pad_token`, `model_max_length`
   * @param where names their folder, for error messages
   * @throws TamiasError `bad_weights` when one of them is not as expected
   */
  constructor(definition: unknown, config: unknown, where: string) {
    const { model } = parseWith(tokenizerSchema, definition, join(where, "tokenizer.json"));
    const settings = parseWith(configSchema, config, join(where, "tokenizer_config.json"));
    try {
      this.#tokenizer = new Tokenizer(definition as object, settings);
    } catch (cause) {
      throw new TamiasError("bad_weights", `${where} holds a tokenizer that cannot be used.`, { cause });
    }
    this.#fallsBackToBytes = model.type === "Unigram" && model.byte_fallback === true;
    this.eosId = this.#specialId(settings.eos_token, where);
    this.padId = this.#specialId(settings.pad_token, where);
    // Hugging Face writes 1e30 for "no limit".
    const limit = settings.model_max_length;
    this.maxLength = limit !== undefined && limit < 2 ** 31 ? limit : undefined;
  }

  /**
   * Opens the tokenizer in a folder with `tokenizer_config.json` and `tokenizer.json`, or, as CLIP's folders
   * often have it, `vocab.json` and `merges.txt`.
   * @throws TamiasError `not_found`, `io` or `bad_weights`
   */
  static async open(folder: string): Promise<TextTokenizer> {
    const config = await readJsonObject(join(folder, "tokenizer_config.json"));
    return new TextTokenizer(await readDefinition(folder), config, folder);
  }

  /**
   * The prompt's ids with the tokenizer's own start and end tokens, cut or padded to `length`. A prompt that is
   * too long loses its last words but keeps its end token.
   * @param length tokens; 77 for CLIP, the pipeline's `max_sequence_length` for T5
   * @returns `[length]`
   */
  encode(prompt: string, length: number): Int32Array {
    if (!Number.isInteger(length) || length < 1) {
      throw new TamiasError("bad_input", `A sequence length of ${length} tokens is not possible.`);
    }
    const ids = this.#encodeAll(prompt);
    const result = new Int32Array(length).fill(this.padId);
    result.set(ids.slice(0, length));
    if (ids.length > length && ids.at(-1) === this.eosId) result[length - 1] = this.eosId;
    return result;
  }

  /** How many tokens a prompt takes before it is cut or padded, with start and end tokens. */
  countTokens(prompt: string): number {
    return this.#encodeAll(prompt).length;
  }

  #encodeAll(prompt: string): number[] {
    // A lone surrogate has no UTF-8 form; JavaScript, unlike Unicode, counts "next line" as no white space.
    const text = prompt.toWellFormed().replaceAll("\u0085", " ");
    const { ids, tokens } = this.#tokenizer.encode(text);
    return this.#fallsBackToBytes ? ids.flatMap((id, i) => this.#orBytes(id, tokens[i] ?? "")) : ids;
  }

  /**
   * The package leaves the text of an unknown piece in `tokens` but knows no byte fallback for Unigram models:
   * such a piece stands for its UTF-8 bytes, each of which is a token `<0xHH>`.
   */
  #orBytes(id: number, piece: string): number | number[] {
    if (this.#tokenizer.token_to_id(piece) !== undefined) return id;
    const ids = Array.from(new TextEncoder().encode(piece), (byte) =>
      this.#tokenizer.token_to_id(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
    );
    return ids.every((byteId) => byteId !== undefined) ? ids : id;
  }

  #specialId(token: string, where: string): number {
    const id = this.#tokenizer.token_to_id(token);
    if (id === undefined)
      throw new TamiasError("bad_weights", `The tokenizer in ${where} does not know "${token}".`);
    return id;
  }
}

async function readDefinition(folder: string): Promise<object> {
  const path = join(folder, "tokenizer.json");
  const vocabularyPath = join(folder, "vocab.json");
  const merges = Bun.file(join(folder, "merges.txt"));
  const onlyVocabulary = !(await Bun.file(path).exists()) && (await merges.exists());
  if (!onlyVocabulary) return readJsonObject(path);
  const vocabulary = parseWith(clipVocabularySchema, await readJsonObject(vocabularyPath), vocabularyPath);
  return clipTokenizerDefinition(vocabulary, await merges.text());
}
