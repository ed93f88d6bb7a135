import { freemem } from "node:os";
import { type Device, TamiasError } from "../../ffi/index.ts";
import type { Placement } from "../delta/cache-place.ts";
import type { DeltaNeeds } from "../delta/needs.ts";
import { placeCaches } from "../delta/placement.ts";
import type { Needs, RunCounter } from "./needs.ts";
import type { Request } from "./request.ts";

/** Times that caches are placed anew where temporaries take more than was left for them. */
const PLACE_ATTEMPTS = 4;
const NO_ROOM = { deviceBytes: 0, hostBytes: 0 };

/** Bytes that a run may take. */
export interface Room {
  /** Of the device, with the model's weights. */
  readonly device: number;
  /** Of pinned host memory, for caches. */
  readonly host: number;
}

/** What runs take besides what is counted: this program's own memory on a CPU, the libraries' on a GPU. */
const besides = { cpu: 64 * 2 ** 20, cuda: 512 * 2 ** 20 } as const;
/** Share of the free host memory that caches may pin. */
const HOST_SHARE = 0.5;

/** What a device has for a run now, with all that its process holds already. */
export function roomOf(device: Device): Room {
  const { backend, bytesFree, bytesAllocated } = device.info();
  return {
    device: bytesFree + bytesAllocated - besides[backend],
    // On the CPU the host's memory is the device's.
    host: backend === "cpu" ? 0 : HOST_SHARE * freemem(),
  };
}

/**
 * Sees before any work how a run fits: as it is; decoded in parts; or with what it keeps moved to host memory or left
 * out, which its notes tell.
 * @throws TamiasError `does_not_fit`, naming what would
 */
export async function fit(counter: RunCounter, request: Request, room: Room): Promise<Request> {
  const { most } = await counter.needs(request);
  if (most <= room.device) return request;
  const within = await fitWithin(counter, request, room);
  if (within) return within;
  const { width, height, policy } = request.settings;
  const smaller = await largestSize(counter, request, room);
  throw new TamiasError(
    "does_not_fit",
    `${width} x ${height} with the policy "${policy}" needs ${megabytes(most)} of memory with the model; ` +
      `the device has ${megabytes(room.device)}.`,
    {
      hint: smaller
        ? `The largest size that fits is ${smaller.width} x ${smaller.height}.`
        : "No size fits: free memory, or use another device.",
    },
  );
}

/** The request as it keeps to its room; undefined where it cannot. */
async function fitWithin(counter: RunCounter, request: Request, room: Room): Promise<Request | undefined> {
  const bounded = { ...request, room: room.device };
  const plain = await count(counter, bounded);
  if (!plain) return undefined;
  if (plain.most <= room.device) return bounded;
  // What denoising takes that keeps nothing; the rest of the room is for what it keeps.
  const bare = await count(counter, { ...bounded, place: (needs) => placeCaches(needs, NO_ROOM) });
  let deviceBytes = room.device - (bare?.denoising ?? room.device);
  for (let attempt = 0; attempt < PLACE_ATTEMPTS && deviceBytes > 0; attempt++) {
    let placed: { needs: DeltaNeeds; placement: Placement } | undefined;
    const free = { deviceBytes, hostBytes: room.host };
    const place = (needs: DeltaNeeds) => {
      const placement = placeCaches(needs, free);
      placed = { needs, placement };
      return placement;
    };
    const taken = await count(counter, { ...bounded, place });
    if (!taken) return undefined;
    if (placed && taken.most <= room.device)
      return { ...bounded, place, notes: [...request.notes, placementNote(placed.needs, placed.placement)] };
    deviceBytes -= taken.denoising - room.device;
  }
  return undefined;
}

function placementNote(
  { bytes, caches }: DeltaNeeds,
  { placeOf, deviceBytes, hostBytes }: Placement,
): string {
  const without = caches.filter(({ branch, module }) => placeOf(branch, module) === "none").length;
  const dense = without === 0 ? "" : `, and ${without} of ${caches.length} modules run dense instead`;
  return (
    `Memory is short: of ${megabytes(bytes)} that deltas would keep, ${megabytes(deviceBytes)} lie on the device ` +
    `and ${megabytes(hostBytes)} in host memory${dense}.`
  );
}

/** What a run takes; undefined where decoding cannot keep to the room. */
async function count(counter: RunCounter, request: Request): Promise<Needs | undefined> {
  try {
    return await counter.needs(request);
  } catch (error) {
    if (error instanceof TamiasError && error.code === "out_of_memory") return undefined;
    throw error;
  }
}

/** The largest size of about the same shape that fits, found by halving. */
async function largestSize(
  counter: RunCounter,
  request: Request,
  room: Room,
): Promise<{ width: number; height: number } | undefined> {
  const { multiple } = counter.family.sizes;
  const { settings } = request;
  const longer = Math.max(settings.width, settings.height);
  const sizeOf = (units: number) => {
    const side = (pixels: number) => Math.max(1, Math.round((units * pixels) / longer)) * multiple;
    return { width: side(settings.width), height: side(settings.height) };
  };
  let enough = 0;
  let tooMany = longer / multiple;
  while (tooMany - enough > 1) {
    const middle = Math.floor((enough + tooMany) / 2);
    const smaller = { ...request, settings: { ...settings, ...sizeOf(middle) } };
    if (await fitWithin(counter, smaller, room)) enough = middle;
    else tooMany = middle;
  }
  return enough === 0 ? undefined : sizeOf(enough);
}

/** For sentences. */
export function megabytes(bytes: number): string {
  return bytes < 10e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
