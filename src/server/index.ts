/**
 * The HTTP server: `app.route("/", routes(engine))` mounts it in a Hono app, `listen` runs it by itself.
 */
export type { Engine } from "./engine.ts";
export {
  jsonLogger,
  silent as silentLogger,
  type LogFields,
  type Logger,
  type LogLevel,
} from "./http/logger.ts";
export { listen, type ListenOptions, type Listening } from "./listen.ts";
export { makeService, routes, type RoutesOptions, type TamiasService } from "./routes.ts";
export type { ApiKey, ServerSettingsInput } from "./settings.ts";
