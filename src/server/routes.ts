import { OpenAPIHono } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import type { Vocabulary } from "../pipeline/known-words.ts";
import type { Engine } from "./engine.ts";
import type { ServerEnv } from "./http/context.ts";
import { errorFields, type Logger, silent } from "./http/logger.ts";
import { authenticate, dialect, observe } from "./http/middleware.ts";
import { Problem } from "./http/problem.ts";
import { toProblem } from "./http/to-problem.ts";
import { jobLogger } from "./jobs/job-logger.ts";
import { Jobs } from "./jobs/jobs.ts";
import { addModels } from "./models/models.ts";
import { addGenerate } from "./native/generate.ts";
import { addJobs } from "./native/jobs.ts";
import { addImages } from "./openai/images.ts";
import { addDocument } from "./operations/document.ts";
import { addHealth } from "./operations/health.ts";
import { Metrics } from "./operations/metrics.ts";
import { addPage } from "./page/page.ts";
import type { Service } from "./service.ts";
import { type ServerSettingsInput, settingsSchema } from "./settings.ts";

export interface RoutesOptions {
  readonly settings?: ServerSettingsInput | undefined;
  /** Default: nothing is logged. */
  readonly log?: Logger | undefined;
  /** The words the model was trained on; the page proposes them. */
  readonly vocabulary?: Vocabulary | undefined;
}

/** The routes of one engine, and the way to end them. */
export interface TamiasService {
  readonly app: OpenAPIHono<ServerEnv>;
  /** Takes no more jobs, and waits for those there are: `drainSeconds` of the settings, unless told otherwise. */
  close(drainSeconds?: number): Promise<void>;
}

/** Everything the routes serve; a mounted app leaves all other paths alone. */
const paths = ["/v1/*", "/metrics", "/health", "/ready", "/openapi.json", "/docs", "/docs/*", "/assets/*"];
const openAiPaths = ["/v1/images/*", "/v1/models", "/v1/models/*"];
const guarded = ["/v1/*", "/metrics"];

/**
 * The server's routes as a Hono app, to be mounted in another: `app.route("/", routes(engine))`. The engine stays the
 * caller's.
 * @throws z.ZodError when a setting is out of range
 */
export function routes(engine: Engine, options: RoutesOptions = {}): OpenAPIHono<ServerEnv> {
  return makeService(engine, options).app;
}

/** The same, with a way to let jobs end before the program does. */
export function makeService(engine: Engine, options: RoutesOptions = {}): TamiasService {
  const settings = settingsSchema.parse(options.settings ?? {});
  const log = options.log ?? silent;
  const metrics = new Metrics(engine, () => jobs);
  const logJobs = jobLogger(log);
  const jobs: Jobs = new Jobs(engine, settings, [metrics, logJobs]);
  const service: Service = { engine, jobs, settings, log, vocabulary: options.vocabulary };

  const app = new OpenAPIHono<ServerEnv>();
  app.onError((error, c) => {
    const known = toProblem(error);
    if (!known) (c.get("log") ?? log)("error", "mistake", errorFields(error));
    const problem =
      known ?? new Problem(500, "internal", "A mistake in Tamias itself; the server's log has more.");
    return c.get("dialect") === "openai" ? problem.toOpenAi() : problem.toNative(c.get("requestId") ?? "");
  });
  for (const path of paths) app.use(path, observe(log, metrics), dialect("native"));
  for (const path of openAiPaths) app.use(path, dialect("openai"));
  if (settings.corsOrigins.length > 0) {
    const origin = settings.corsOrigins.includes("*") ? "*" : settings.corsOrigins;
    app.use(
      "/v1/*",
      cors({ origin, exposeHeaders: ["x-job-id", "x-request-id", "retry-after", "location"] }),
    );
  }
  for (const path of guarded) app.use(path, authenticate(settings.apiKeys));
  app.use(
    "/v1/*",
    bodyLimit({
      maxSize: settings.bodyBytes,
      onError: () => {
        throw new Problem(413, "body_too_large", `A body may have at most ${settings.bodyBytes} bytes.`);
      },
    }),
  );

  addGenerate(app, service);
  addJobs(app, service);
  addImages(app, service);
  addModels(app, service);
  addHealth(app, service);
  app.get("/metrics", async (c) =>
    c.body(await metrics.registry.metrics(), 200, { "content-type": metrics.registry.contentType }),
  );
  addDocument(app);
  addPage(app);
  app.all("/v1/*", () => {
    throw new Problem(404, "not_found", "There is nothing here.", {
      hint: "GET /openapi.json lists what there is.",
    });
  });

  return { app, close: (drainSeconds = settings.drainSeconds) => jobs.close(drainSeconds) };
}
