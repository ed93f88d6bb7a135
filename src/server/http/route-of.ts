import type { Context } from "hono";
import { matchedRoutes } from "hono/route";

/** The route a request matched, as metrics count it: never the path itself, of which there are endlessly many. */
export function routeOf(context: Context): string {
  return matchedRoutes(context).findLast(({ path }) => !path.includes("*"))?.path ?? "other";
}
