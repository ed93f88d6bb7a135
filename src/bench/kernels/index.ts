import { Device, TamiasError } from "../../../ffi/index.ts";
import { Ops } from "../../nn/index.ts";
import type { OpenOptions } from "../../pipeline/open.ts";
import { RandomTensors } from "../random-tensors.ts";
import { benchAttention } from "./attention.ts";
import { benchLaunch } from "./launch.ts";
import { benchMlp } from "./mlp.ts";
import type { KernelRow } from "./row.ts";
import { shapeSets } from "./shapes.ts";

export type { KernelRow } from "./row.ts";

export const kernelSets: readonly string[] = Object.keys(shapeSets);

export interface KernelBench {
  readonly device: string;
  readonly rows: readonly KernelRow[];
}

/**
 * Times the kernels at the shapes of the named sets, telling each row as it comes.
 * @param sets default: every published model's on a GPU, the embedded model's on the CPU
 * @throws TamiasError `not_found` for an unknown set
 */
export async function benchKernels(
  { device: backend = "auto", threads }: Pick<OpenOptions, "device" | "threads">,
  sets: readonly string[] | undefined,
  tell: (row: KernelRow) => void,
): Promise<KernelBench> {
  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  const names = sets ?? (device.backend === "cuda" ? ["flux", "hunyuan-video", "wan"] : ["acorn"]);
  const chosen = names.map((name) => {
    const set = shapeSets[name];
    if (!set)
      throw new TamiasError("not_found", `There is no set of shapes "${name}".`, {
        hint: `Sets are ${kernelSets.join(", ")}.`,
      });
    return set;
  });
  using random = new RandomTensors(ops, 1);
  const rows: KernelRow[] = [];
  const add = (row: KernelRow) => {
    rows.push(row);
    tell(row);
  };
  add(benchLaunch(ops));
  for (const { attention, mlp } of chosen) {
    for (const shape of attention) benchAttention(ops, random, shape).forEach(add);
    for (const shape of mlp) benchMlp(ops, random, shape).forEach(add);
  }
  return { device: device.info().name, rows };
}
