import type { MiddlewareHandler } from "hono";
import type { Metrics } from "../operations/metrics.ts";
import { keyOwners } from "./api-keys.ts";
import type { ApiKey } from "../settings.ts";
import type { ServerEnv } from "./context.ts";
import type { Logger } from "./logger.ts";
import { Problem } from "./problem.ts";
import { routeOf } from "./route-of.ts";

/** Names the request, and says afterwards how it was answered. */
export function observe(log: Logger, metrics: Metrics): MiddlewareHandler<ServerEnv> {
  return async (c, next) => {
    const began = performance.now();
    const given = c.req.header("x-request-id");
    const requestId = given && /^[\w.:-]{1,128}$/.test(given) ? given : crypto.randomUUID();
    c.set("requestId", requestId);
    c.set("log", (level, message, fields) => log(level, message, { request: requestId, ...fields }));
    c.set("owner", "anonymous");
    await next();
    c.header("x-request-id", requestId);
    c.header("x-content-type-options", "nosniff");
    const seconds = (performance.now() - began) / 1000;
    const route = routeOf(c);
    metrics.request(c.req.method, route, c.res.status, seconds);
    c.get("log")(c.res.status >= 500 ? "error" : "info", "request", {
      method: c.req.method,
      route,
      status: c.res.status,
      seconds: Math.round(seconds * 1e4) / 1e4,
      owner: c.get("owner"),
      job: c.res.headers.get("x-job-id") ?? undefined,
    });
  };
}

export function dialect(name: ServerEnv["Variables"]["dialect"]): MiddlewareHandler<ServerEnv> {
  return async (c, next) => {
    c.set("dialect", name);
    await next();
  };
}

/** Lets in only who has one of the keys; everybody where there are none. */
export function authenticate(keys: readonly ApiKey[]): MiddlewareHandler<ServerEnv> {
  const ownerOf = keyOwners(keys);
  return async (c, next) => {
    if (keys.length > 0) {
      const [, key = ""] = /^Bearer +(\S{1,512})$/i.exec(c.req.header("authorization") ?? "") ?? [];
      const owner = key === "" ? undefined : ownerOf(key);
      if (owner === undefined)
        throw new Problem(401, "unauthorized", key ? "This API key is not known." : "An API key is needed.", {
          hint: "Send it as `Authorization: Bearer KEY`.",
          headers: { "www-authenticate": "Bearer" },
        });
      c.set("owner", owner);
    }
    await next();
  };
}
