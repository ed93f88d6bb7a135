import { TamiasError } from "../../ffi/index.ts";
import { exact } from "../delta/policies/exact.ts";
import type { Needs, RunCounter } from "./needs.ts";
import type { Request } from "./request.ts";

/**
 * Sees before any work that a run fits.
 * @param room bytes the device has for it, the model's weights included
 * @throws TamiasError `does_not_fit`, naming what would
 */
export async function checkFit(counter: RunCounter, request: Request, room: number): Promise<Needs> {
  const needs = await counter.needs(request);
  if (needs.most <= room) return needs;
  const { settings } = request;
  const alternatives: string[] = [];
  const smaller = await largestSize(counter, request, room);
  if (smaller) alternatives.push(`${smaller.width} x ${smaller.height}`);
  const isPlain = settings.policy === exact.name;
  if (!isPlain && (await counter.needs(withPolicyExact(request))).most <= room)
    alternatives.push(
      `${settings.width} x ${settings.height} with the policy "${exact.name}", which keeps no caches`,
    );
  throw new TamiasError(
    "does_not_fit",
    `${settings.width} x ${settings.height} with the policy "${settings.policy}" needs ${megabytes(needs.most)} of ` +
      `memory with the model; the device has ${megabytes(room)}.`,
    {
      hint:
        alternatives.length > 0
          ? `What fits: ${alternatives.join("; or ")}.`
          : "No size of this model fits: free memory, or use another device.",
    },
  );
}

/** The largest size of about the same shape that fits, found by halving. */
async function largestSize(
  counter: RunCounter,
  request: Request,
  room: number,
): Promise<{ width: number; height: number } | undefined> {
  const { multiple } = counter.family.sizes;
  const { width, height } = request.settings;
  const longer = Math.max(width, height);
  const sizeOf = (units: number) => {
    const side = (pixels: number) => Math.max(1, Math.round((units * pixels) / longer)) * multiple;
    return { width: side(width), height: side(height) };
  };
  const fits = async (units: number) =>
    (await counter.needs({ ...request, settings: { ...request.settings, ...sizeOf(units) } })).most <= room;
  let most = 0;
  let tooMany = longer / multiple;
  while (tooMany - most > 1) {
    const middle = Math.floor((most + tooMany) / 2);
    if (await fits(middle)) most = middle;
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
