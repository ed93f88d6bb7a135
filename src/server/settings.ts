import { z } from "zod";
import { requestLimits } from "../pipeline/options.ts";

const seconds = z.number().positive().max(86_400);

/** A client that may use the server. Its name, never its key, appears in logs. */
export const apiKeySchema = z.strictObject({
  name: z.string().min(1).max(100),
  key: z.string().min(8, "must have at least 8 characters").max(512),
});
export type ApiKey = z.output<typeof apiKeySchema>;

export const settingsSchema = z.strictObject({
  /** None: everybody who reaches the server may use it. */
  apiKeys: z.array(apiKeySchema).default([]),
  /** Origins whose pages may call the server from a browser; `*` for all. */
  corsOrigins: z.array(z.string()).default([]),
  /** Jobs that may wait; more are refused with 429. */
  queueLength: z.int().min(1).max(100_000).default(64),
  /** Jobs that one API key may have waiting or running; default: as many as fit the queue. */
  jobsPerKey: z.int().min(1).optional(),
  bodyBytes: z
    .int()
    .min(1024)
    .default(1 << 20),
  promptCharacters: z.int().min(1).max(requestLimits.promptCharacters).default(2000),
  /** Width times height. */
  pixels: z
    .int()
    .min(256)
    .default(2048 * 2048),
  steps: z.int().min(1).max(requestLimits.steps.most).default(200),
  /** How long a job may run, and how long it may wait. */
  runSeconds: seconds.default(1800),
  waitSeconds: seconds.default(1800),
  /** A job that is stopped ends after so long, even if its engine goes on. */
  stopSeconds: seconds.default(30),
  /** A stream in which nothing happens tells so this often. */
  heartbeatSeconds: seconds.default(5),
  /** A reader that takes nothing for so long is let go. */
  stallSeconds: seconds.default(60),
  /** How long ended jobs can be asked for, how many of them, and in how many bytes of pictures and logs. */
  keepSeconds: seconds.default(900),
  keepJobs: z.int().min(0).default(1000),
  keepBytes: z
    .int()
    .min(0)
    .default(256 << 20),
  /** How long a shutdown waits for the jobs there are. */
  drainSeconds: z.number().min(0).max(86_400).default(30),
});

export type ServerSettings = z.output<typeof settingsSchema>;
export type ServerSettingsInput = z.input<typeof settingsSchema>;
