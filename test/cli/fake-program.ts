// The whole program with a slow engine that draws nothing, for tests that need a process.
import { runProcess } from "../../src/cli/run-process.ts";
import { fakeEngine } from "./fake-engine.ts";

await runProcess(fakeEngine({ secondsPerStep: 0.1 }));
