import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import type { FamilyKind } from "../models/family.ts";
import { parseWith, readJsonObject } from "../weights/json-file.ts";
import { families, familyOf } from "./families.ts";

const modelsFolder = fileURLToPath(new URL("../../models", import.meta.url));

const indexSchema = z.looseObject({ _class_name: z.string() });

export interface ModelEntry {
  /** What `open({ model })` takes. */
  readonly name: string;
  readonly folder: string;
  /** Pipeline class of `model_index.json`. */
  readonly pipeline: string;
  readonly family: string;
}

/** The models that come with this package and that this build can run. */
export async function listModels(): Promise<ModelEntry[]> {
  const names = existsSync(modelsFolder) ? await readdir(modelsFolder) : [];
  const found = names.filter((name) => existsSync(join(modelsFolder, name, "model_index.json"))).toSorted();
  const entries = await Promise.all(found.map((name) => readEntry(name, join(modelsFolder, name))));
  return entries.filter(({ pipeline }) => familyOf(pipeline) !== undefined);
}

/**
 * A model by name, or a folder in diffusers format by path.
 * @throws TamiasError `not_found`, or `unsupported` for a pipeline this build has no network for
 */
export async function findModel(asked: string): Promise<ModelEntry & { readonly kind: FamilyKind }> {
  const embedded = join(modelsFolder, asked);
  const isName = /^[\w.-]+$/.test(asked) && existsSync(join(embedded, "model_index.json"));
  const folder = isName ? embedded : resolve(asked);
  if (!existsSync(join(folder, "model_index.json"))) {
    const names = (await listModels()).map(({ name }) => name);
    throw new TamiasError("not_found", `There is no model "${asked}".`, {
      hint: `Give a folder with a model_index.json (diffusers format)${names.length > 0 ? `, or one of: ${names.join(", ")}` : ""}.`,
    });
  }
  const entry = await readEntry(isName ? asked : basename(folder), folder);
  const kind = familyOf(entry.pipeline);
  if (!kind)
    throw new TamiasError(
      "unsupported",
      `${folder} is a ${entry.pipeline}; this build runs ${families.map(({ pipeline }) => pipeline).join(", ")}.`,
    );
  return { ...entry, kind };
}

async function readEntry(name: string, folder: string): Promise<ModelEntry> {
  const path = join(folder, "model_index.json");
  const { _class_name } = parseWith(indexSchema, await readJsonObject(path), path);
  return { name, folder, pipeline: _class_name, family: familyOf(_class_name)?.title ?? "unknown" };
}
