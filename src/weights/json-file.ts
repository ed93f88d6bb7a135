import type { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import { statFile } from "./stat-file.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Reads a JSON file whose top level is an object.
 * @throws TamiasError `not_found`, `io`, or `bad_weights` when it is no JSON object
 */
export async function readJsonObject(path: string): Promise<JsonObject> {
  await statFile(path);
  const text = await Bun.file(path).text();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new TamiasError("bad_weights", `${path} is not valid JSON.`, { cause });
  }
  if (!isJsonObject(value)) throw new TamiasError("bad_weights", `${path} does not hold a JSON object.`);
  return value;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Checks a value that was read from a file against a zod schema.
 * @param where names the file, for the error message
 * @throws TamiasError `bad_weights` naming the first field that does not fit
 */
export function parseWith<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  where: string,
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue && issue.path.length > 0 ? ` at "${issue.path.join(".")}"` : "";
  throw new TamiasError("bad_weights", `${where} is not as expected${field}: ${issue?.message}.`, {
    cause: result.error,
  });
}
