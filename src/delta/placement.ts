import type { CachePlace, Placement } from "./cache-place.ts";
import type { ModuleDescription } from "./cells.ts";
import type { CacheNeeds, DeltaNeeds } from "./needs.ts";

/** Everything on the device. */
export function placeOnDevice(needs: DeltaNeeds): Placement {
  return placementOf(needs, new Map(), Number.POSITIVE_INFINITY);
}

/**
 * Places caches so that they fit. Attention caches come first: MLP caches, whose activations are large and change at
 * every delta, get what is left, in the order of layers. Attention caches that do not fit on the device go to host memory,
 * as few as need be and spread over the layers, so that each has time to be fetched; where that is full too, there are none
 * from the last layer on back.
 * @param free bytes that caches may take
 */
export function placeCaches(
  needs: DeltaNeeds,
  free: { readonly deviceBytes: number; readonly hostBytes: number },
): Placement {
  const attention = needs.caches.filter(({ module }) => module.kind === "attention");
  const mlps = needs.caches.filter(({ module }) => module.kind === "mlp");
  const places = new Map<CacheNeeds, CachePlace>(mlps.map((need) => [need, "none"]));
  const settled = () => placementOf(needs, places, free.deviceBytes);
  for (let kept = attention.length; kept >= 0; kept--) {
    attention.forEach((need, at) => places.set(need, at < kept ? "device" : "none"));
    const candidates = attention.slice(0, kept).filter(({ movableBytes }) => movableBytes > 0);
    for (let count = 0; count <= candidates.length; count++) {
      spread(candidates, count, places);
      const placement = settled();
      if (placement.hostBytes > free.hostBytes) break;
      if (!placement.fits) continue;
      if (count > 0 || kept < attention.length) return placement;
      for (const mlp of mlps) {
        places.set(mlp, "device");
        if (!settled().fits) places.set(mlp, "none");
      }
      return settled();
    }
  }
  return settled();
}

/** Puts `count` of the candidates into host memory, evenly apart. */
function spread(candidates: readonly CacheNeeds[], count: number, places: Map<CacheNeeds, CachePlace>): void {
  for (const need of candidates) places.set(need, "device");
  for (let at = 0; at < count; at++)
    places.set(candidates[Math.floor(((at + 0.5) * candidates.length) / count)]!, "host");
}

function placementOf(
  needs: DeltaNeeds,
  places: ReadonlyMap<CacheNeeds, CachePlace>,
  freeBytes: number,
): Placement {
  let deviceBytes = needs.fixedBytes;
  let hostBytes = 0;
  let slotBytes = 0;
  let tensors = 0;
  const byName = new Map<string, CachePlace>();
  for (const need of needs.caches) {
    const place = places.get(need) ?? "device";
    byName.set(nameOf(need.branch, need.module), place);
    if (place === "none") continue;
    deviceBytes += need.bytes;
    if (place === "device") continue;
    deviceBytes -= need.movableBytes;
    hostBytes += need.movableBytes;
    slotBytes = Math.max(slotBytes, need.largestMovable);
    tensors = Math.max(tensors, need.movableTensors);
  }
  // One layer's in use, the next one's on their way.
  const slots = 2 * tensors;
  deviceBytes += slots * slotBytes;
  return {
    placeOf: (branch, module) => byName.get(nameOf(branch, module)) ?? "device",
    deviceBytes,
    hostBytes,
    fits: deviceBytes <= freeBytes,
    slotBytes,
    slots,
  };
}

function nameOf(branch: number, { layer, id }: Pick<ModuleDescription, "layer" | "id">): string {
  return `${branch}.${layer}.${id}`;
}
