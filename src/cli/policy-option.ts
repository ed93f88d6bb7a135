import { readFile } from "node:fs/promises";
import { TamiasError } from "../../ffi/errors.ts";
import { columnPolicySchema, type ColumnPolicySettings } from "../delta/column-policy.ts";
import { findPolicy } from "../delta/policies/index.ts";

/** A policy as the command line was given it. */
export interface AskedPolicy {
  readonly name: string;
  /** What `generate` takes. */
  readonly policy: string | ColumnPolicySettings;
}

/**
 * Reads `--policy`: a policy's name, settings written as JSON, or the path of a JSON file with settings.
 * @throws TamiasError `not_found` or `bad_input`
 */
export async function readPolicy(text: string): Promise<AskedPolicy> {
  const inline = text.trimStart().startsWith("{");
  const isFile = !inline && (text.endsWith(".json") || text.includes("/"));
  if (!inline && !isFile) return { name: findPolicy(text).name, policy: text };
  const where = inline ? "The policy's JSON" : text;
  const settings = parseJson(inline ? text : await readText(text), where);
  const { name } = findPolicy(settings);
  return { name, policy: columnPolicySchema.parse(settings) };
}

function parseJson(text: string, where: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new TamiasError("bad_input", `${where} is not valid JSON (${(cause as Error).message}).`, {
      cause,
    });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new TamiasError("bad_input", `${where} is not a JSON object with a policy's settings.`);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new TamiasError("not_found", `The policy file ${path} cannot be read.`, {
      hint: "Give a policy's name, settings as JSON, or the path of a JSON file with settings.",
      cause,
    });
  }
}
