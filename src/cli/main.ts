import { runProcess } from "./run-process.ts";

if (import.meta.main)
  await runProcess({
    // Imported when needed, so that --help and mistakes in the command line answer at once.
    open: async (options) => (await import("../pipeline/open.ts")).open(options),
    openApart: async (options) => (await import("../../workers/open-in-process.ts")).openInProcess(options),
    inspectRun: async (options, request) =>
      (await import("../pipeline/inspect.ts")).inspectRun(options, request),
    verifyFolder: async (folder, options) =>
      (await import("../pipeline/verify.ts")).verifyFolder(folder, options),
  });
