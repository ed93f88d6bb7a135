import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { parseWith, readJsonObject } from "../weights/json-file.ts";
import { nearestWord } from "./nearest-word.ts";

/** Phrases; or other names of phrases, told as "bunny (rabbit)"; or groups of phrases, of which the names count. */
const phrasesSchema = z.union([
  z.array(z.string()),
  z
    .record(z.string(), z.string())
    .transform((names) => Object.entries(names).map(([name, of]) => `${name} (${of})`)),
  z.record(z.string(), z.array(z.string())).transform((groups) => Object.keys(groups)),
]);
const vocabularySchema = z.record(z.string(), phrasesSchema);

/** The words and phrases a model was trained on, by kind (concepts, colours, backgrounds …). */
export type Vocabulary = z.output<typeof vocabularySchema>;

/** A word of a prompt that the model has never seen, and the known word most like it. */
export interface UnknownWord {
  readonly word: string;
  readonly nearest?: string;
}

/** Reads `words.json` of a model's folder; undefined when the model brings none. */
export async function readVocabulary(folder: string): Promise<Vocabulary | undefined> {
  const path = join(folder, "words.json");
  return existsSync(path) ? parseWith(vocabularySchema, await readJsonObject(path), path) : undefined;
}

/** The prompt's words that are in none of the vocabulary's phrases, each once. */
export function unknownWords(prompt: string, vocabulary: Vocabulary): UnknownWord[] {
  const known = new Set(Object.values(vocabulary).flat().flatMap(wordsOf));
  for (const glue of ["a", "an", "and", "of", "the", "in", "on", "at", "to", "with"]) known.add(glue);
  const unknown = [...new Set(wordsOf(prompt))].filter((word) => !known.has(word));
  return unknown.map((word) => {
    const nearest = nearestWord(word, known);
    return nearest ? { word, nearest } : { word };
  });
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
