import type { Ops } from "../../nn/index.ts";
import { median } from "../median.ts";
import { type KernelRow, row } from "./row.ts";

const CALLS = 500;
const ROUNDS = 9;

/** What it takes this program to queue one small op: its checks, the foreign call and the launch. */
export function benchLaunch(ops: Ops): KernelRow {
  using x = ops.memory.persistent([64], "f32");
  ops.fill(x, 1);
  const seconds = Array.from({ length: ROUNDS }, () => {
    ops.stream.synchronize();
    const began = performance.now();
    for (let call = 0; call < CALLS; call++) ops.activate("silu", x);
    return (performance.now() - began) / 1000 / CALLS;
  });
  ops.stream.synchronize();
  return row("queueing one op", "activate, 64 elements", { seconds: median(seconds) });
}
