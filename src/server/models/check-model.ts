import type { Engine } from "../engine.ts";
import { Problem } from "../http/problem.ts";
import { noneOf } from "../http/validation.ts";

/** @throws Problem 404 when another model is asked for than this server has */
export function checkModel(engine: Engine, asked: string | undefined): void {
  if (asked === undefined || asked === engine.model) return;
  const { message, params } = noneOf(asked, [engine.model]);
  throw new Problem(404, "model_not_found", `There is no such model here: ${message}`, {
    errors: [{ field: "model", message, ...params }],
  });
}
