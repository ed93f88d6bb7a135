import type { ModuleDescription } from "./cells.ts";

/** Where a module's cache lies; `none`: there is no room for it, and the module runs dense or reuses outputs. */
export type CachePlace = "device" | "host" | "none";

/** Where a run's caches lie. */
export interface Placement {
  placeOf(branch: number, module: Pick<ModuleDescription, "layer" | "id">): CachePlace;
  /** Device memory that the run keeps, with the room through which host caches pass. */
  readonly deviceBytes: number;
  readonly hostBytes: number;
  /** Whether `deviceBytes` are free: where even a run without any cache keeps more, they are not. */
  readonly fits: boolean;
  /** Bytes of one tensor on its way between host and device, and how many there are. */
  readonly slotBytes: number;
  readonly slots: number;
}
