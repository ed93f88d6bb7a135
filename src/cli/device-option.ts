import { Option } from "commander";

/** `--device`, as all commands that open a model have it. */
export function deviceOption(): Option {
  return new Option("--device <device>", "where to run").choices(["auto", "cpu", "cuda"]).default("auto");
}
