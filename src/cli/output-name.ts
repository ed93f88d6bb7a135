import type { Settings } from "../pipeline/events.ts";

const SLUG_CHARACTERS = 48;

/** The picture's file when `--out` names none: `out/<prompt>-<seed>-<policy>.png`. */
export function defaultOutput({
  prompt,
  seed,
  policy,
}: Pick<Settings, "prompt" | "seed" | "policy">): string {
  return `out/${slug(prompt)}-${seed}-${slug(policy)}.png`;
}

/** Letters and digits of any script, words joined by "-", cut at a word where possible. */
function slug(text: string): string {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  let joined = "";
  for (const word of words) {
    const longer = joined ? `${joined}-${word}` : word.slice(0, SLUG_CHARACTERS);
    if (longer.length > SLUG_CHARACTERS) break;
    joined = longer;
  }
  return joined || "picture";
}
