import { existsSync } from "node:fs";
import { Device, libraryPath } from "../../ffi/index.ts";

/** Why CUDA's tests cannot run here, or undefined where they can. */
export async function whyNoCuda(): Promise<string | undefined> {
  if (!existsSync(libraryPath("cuda"))) return `${libraryPath("cuda")} has not been built.`;
  try {
    using device = await Device.open({ backend: "cuda" });
    return device.backend === "cuda" ? undefined : "The CUDA library is another backend's.";
  } catch (error) {
    return (error as Error).message;
  }
}

/** The same, printed, for files whose tests are skipped then. */
export async function cudaIsMissing(what: string): Promise<boolean> {
  const reason = await whyNoCuda();
  if (reason) console.warn(`${what} on CUDA is skipped: ${reason}`);
  return reason !== undefined;
}
