import { TamiasError } from "../../ffi/index.ts";
import { exact } from "../delta/policies/exact.ts";
import type { RunCounter } from "./needs.ts";
import type { Request } from "./request.ts";

/**
 * Sees before any work how a run fits: as it is, or decoded in parts.
 * @param room bytes the device has for it, the model's weights included
 * @returns the request, with its room where it must keep to it
 * @throws TamiasError `does_not_fit`, naming what would
 */
export async function fit(counter: RunCounter, request: Request, room: number): Promise<Request> {
  const { most } = await counter.needs(request);
  if (most <= room) return request;
  if (await fits(counter, request, room)) return { ...request, room };
  const { width, height, policy } = request.settings;
  const alternatives: string[] = [];
  const smaller = await largestSize(counter, request, room);
  if (smaller) alternatives.push(`${smaller.width} x ${smaller.height}`);
  if (policy !== exact.name && (await fits(counter, withPolicyExact(request), room)))
    alternatives.push(`${width} x ${height} with the policy "${exact.name}", which keeps no caches`);
  throw new TamiasError(
    "does_not_fit",
    `${width} x ${height} with the policy "${policy}" needs ${megabytes(most)} of memory with the model; ` +
      `the device has ${megabytes(room)}.`,
    {
      hint:
        alternatives.length > 0
          ? `What fits: ${alternatives.join("; or ")}.`
          : "No size fits: free memory, or use another device.",
    },
  );
}

/** Whether a run that keeps to its room can. */
async function fits(counter: RunCounter, request: Request, room: number): Promise<boolean> {
  try {
    return (await counter.needs({ ...request, room })).most <= room;
  } catch (error) {
    if (error instanceof TamiasError && error.code === "out_of_memory") return false;
    throw error;
  }
}

/** The largest size of about the same shape that fits, found by halving. */
async function largestSize(
  counter: RunCounter,
  request: Request,
  room: number,
): Promise<{ width: number; height: number } | undefined> {
  const { multiple } = counter.family.sizes;
  const { settings } = request;
  const longer = Math.max(settings.width, settings.height);
  const sizeOf = (units: number) => {
    const side = (pixels: number) => Math.max(1, Math.round((units * pixels) / longer)) * multiple;
    return { width: side(settings.width), height: side(settings.height) };
  };
  let most = 0;
  let tooMany = longer / multiple;
  while (tooMany - most > 1) {
    const middle = Math.floor((most + tooMany) / 2);
    if (await fits(counter, { ...request, settings: { ...settings, ...sizeOf(middle) } }, room))
      most = middle;
    else tooMany = middle;
  }
  return most === 0 ? undefined : sizeOf(most);
}

function withPolicyExact(request: Request): Request {
  return { ...request, policy: exact, settings: { ...request.settings, policy: exact.name } };
}

/** For sentences. */
export function megabytes(bytes: number): string {
  return bytes < 10e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
