import type { Engine } from "./engine.ts";
import type { Logger } from "./http/logger.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { ServerSettings } from "./settings.ts";
import type { Vocabulary } from "../pipeline/known-words.ts";

/** All that the routes of one engine share. */
export interface Service {
  readonly engine: Engine;
  readonly jobs: Jobs;
  readonly settings: ServerSettings;
  readonly log: Logger;
  /** The words the model was trained on, where it brings them. */
  readonly vocabulary: Vocabulary | undefined;
}
