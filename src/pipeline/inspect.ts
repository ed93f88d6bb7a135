import { Device, TamiasError } from "../../ffi/index.ts";
import type { PictureSizes, RequestDefaults } from "../models/family.ts";
import type { Settings } from "./events.ts";
import { fit, type Room, roomOf } from "./fit.ts";
import { findModel } from "./models.ts";
import { type Needs, RunCounter } from "./needs.ts";
import type { OpenOptions } from "./open.ts";
import type { GenerateOptions } from "./options.ts";
import { type Request, settleRequest } from "./request.ts";

/** What a run would be, and need, on a device. */
export interface Inspection {
  readonly model: string;
  readonly family: string;
  readonly device: string;
  readonly sizes: PictureSizes;
  readonly defaults: RequestDefaults;
  readonly settings: Settings;
  readonly notes: readonly string[];
  readonly needs: Needs;
  /** Bytes of the device that a run with its model may take. */
  readonly room: number;
  readonly fits: boolean;
  /** Where it does not fit: what would. */
  readonly advice?: string;
}

/**
 * Settles a request and counts what it needs, without loading a weight.
 * @throws TamiasError as `open` and `generate` do for what they find wrong before any work
 */
export async function inspectRun(
  { model, device: backend = "auto", index, threads, costs }: Omit<OpenOptions, "pipeline">,
  options: GenerateOptions,
): Promise<Inspection> {
  const { name, family, folder, kind } = await findModel(model);
  const files = await kind.open(folder);
  using device = await Device.open({ backend, index, threads });
  using counter = await RunCounter.open(device, files, costs);
  const { sizes, defaults } = counter.family;
  const request = settleRequest(name, counter.family, options);
  const needs = await counter.needs(request);
  const room = roomOf(device);
  return {
    model: name,
    family,
    device: device.info().name,
    sizes,
    defaults,
    settings: request.settings,
    needs,
    room: room.device,
    ...(await verdictOf(counter, request, room)),
  };
}

async function verdictOf(
  counter: RunCounter,
  request: Request,
  room: Room,
): Promise<Pick<Inspection, "notes" | "fits" | "advice">> {
  try {
    return { notes: (await fit(counter, request, room)).notes, fits: true };
  } catch (error) {
    if (!(error instanceof TamiasError) || error.code !== "does_not_fit") throw error;
    return { notes: request.notes, fits: false, ...(error.hint ? { advice: error.hint } : {}) };
  }
}
