import { TamiasError } from "../../ffi/errors.ts";
import type { Engine } from "./engine.ts";
import { hostGuard } from "./http/host-guard.ts";
import { makeService, type RoutesOptions } from "./routes.ts";

export interface ListenOptions extends RoutesOptions {
  /** Default: 127.0.0.1, this machine only. */
  readonly host?: string | undefined;
  /** 0 takes any free port. */
  readonly port?: number | undefined;
}

export interface Listening {
  readonly url: string;
  /** Takes no more jobs, lets those there are end, then closes every connection. */
  stop(drainSeconds?: number): Promise<void>;
}

/**
 * Serves an engine over HTTP, on Bun. The engine stays the caller's.
 * @throws TamiasError `io` when the address is taken
 */
export function listen(
  engine: Engine,
  { host = "127.0.0.1", port = 8787, ...options }: ListenOptions = {},
): Listening {
  const service = makeService(engine, options);
  const guard = hostGuard(host);
  const server = bind(
    host,
    port,
    (request, self) => guard(request) ?? service.app.fetch(request, { server: self }),
  );
  return {
    url: server.url.href.replace(/\/$/, ""),
    async stop(drainSeconds) {
      await service.close(drainSeconds);
      // Readers take the ends of their jobs; whoever does not is not waited for.
      await Promise.race([server.stop(), Bun.sleep(2000)]);
      await server.stop(true);
    },
  };
}

type Answer = (request: Request, server: Bun.Server<undefined>) => Response | Promise<Response>;

function bind(hostname: string, port: number, fetch: Answer): Bun.Server<undefined> {
  try {
    // Streams lift the time-out for themselves; it is for bodies that never come and connections that say nothing.
    return Bun.serve({ hostname, port, idleTimeout: 30, fetch });
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    const reason = code === "EADDRINUSE" ? "it is taken" : (cause as Error).message;
    throw new TamiasError("io", `Cannot listen on ${hostname}, port ${port}: ${reason}.`, {
      hint: "Port 0 takes any that is free.",
      cause,
    });
  }
}
