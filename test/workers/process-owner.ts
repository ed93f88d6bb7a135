// A program with a model in a process of its own, at work until it is killed. Prints the process's id.
import { openInProcess } from "../../workers/open-in-process.ts";

const tamias = await openInProcess(JSON.parse(process.argv[2]!));
for await (const event of tamias.generate({ prompt: "a fox", width: 64, height: 64, steps: 1000, seed: 1 }))
  if (event.type === "step" && event.step === 0) console.log(tamias.pid);
