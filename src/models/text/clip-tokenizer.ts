import { z } from "zod";
import { TamiasError } from "../../../ffi/errors.ts";

const startToken = "<|startoftext|>";
const endToken = "<|endoftext|>";

/** Contractions, runs of letters, single digits and runs of anything else that is no space. */
const words = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;

/** `vocab.json`: every piece and its id. */
export const clipVocabularySchema = z.record(z.string(), z.int().nonnegative());

/**
 * The `tokenizer.json` that CLIP folders leave out when they hold `vocab.json` and `merges.txt` instead.
 * @param vocabulary the content of `vocab.json`
 * @param merges the text of `merges.txt`: a version line, then one pair a line, the strongest first
 * @throws TamiasError `bad_weights` when the start or end token is missing
 */
export function clipTokenizerDefinition(
  vocabulary: Readonly<Record<string, number>>,
  merges: string,
): object {
  const idOf = (token: string): number => {
    const id = vocabulary[token];
    if (id === undefined) throw new TamiasError("bad_weights", `The CLIP vocabulary has no "${token}".`);
    return id;
  };
  const pairs = merges
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#version"));
  const addedTokens = [startToken, endToken].map((content) => ({
    id: idOf(content),
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  return {
    added_tokens: addedTokens,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: String.raw`\s+` }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: words }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: "RobertaProcessing",
      sep: [endToken, idOf(endToken)],
      cls: [startToken, idOf(startToken)],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: endToken,
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      vocab: vocabulary,
      merges: pairs,
    },
  };
}
