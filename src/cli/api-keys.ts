import { readFile } from "node:fs/promises";
import { TamiasError } from "../../ffi/errors.ts";
import { type ApiKey, apiKeySchema } from "../server/settings.ts";

/**
 * Reads API keys: one a line, `NAME KEY` or `KEY` alone. Empty lines and those that begin with `#` are left out.
 * @throws TamiasError `not_found` or `bad_input`; no message repeats a key
 */
export async function readApiKeys(path: string): Promise<ApiKey[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new TamiasError("not_found", `The file of API keys ${path} cannot be read.`, { cause });
  }
  return parseApiKeys(text, path);
}

/** @param where what to call the text in errors */
export function parseApiKeys(text: string, where: string): ApiKey[] {
  const keys = text.split("\n").flatMap((line, at): ApiKey[] => {
    const words = line.trim().split(/\s+/);
    if (words[0] === "" || words[0]?.startsWith("#")) return [];
    const [name = "", key = name] = words;
    const parsed = apiKeySchema.safeParse({ name: words.length > 1 ? name : `key ${at + 1}`, key });
    if (parsed.success && words.length <= 2) return [parsed.data];
    throw new TamiasError("bad_input", `${where}, line ${at + 1}: this is no API key.`, {
      hint: "Write NAME KEY, or the key alone; a key has 8 characters or more, without spaces.",
    });
  });
  if (keys.length === 0) throw new TamiasError("bad_input", `${where} holds no API key.`);
  return keys;
}
