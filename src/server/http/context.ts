import type { Logger } from "./logger.ts";

/** The part of `Bun.serve`'s server that a stream uses. */
export interface TimeoutControl {
  /** How long the connection of a request may be silent; 0 for ever. */
  timeout(request: Request, seconds: number): void;
}

/** What the routes know of a request. */
export interface ServerEnv {
  Bindings: {
    /** Where the app runs on `Bun.serve`: pass it as `app.fetch(request, { server })`. */
    server?: TimeoutControl | undefined;
  };
  Variables: {
    requestId: string;
    /** Name of the API key, or `anonymous`. */
    owner: string;
    dialect: "native" | "openai";
    log: Logger;
  };
}
