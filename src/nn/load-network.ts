import type { z } from "zod";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { parseWith } from "../weights/json-file.ts";
import { checkpointParameters } from "./checkpoint-parameters.ts";
import type { Ops } from "./ops.ts";
import { Parameters, type ParameterSource } from "./parameters.ts";

/** What a network is made from. */
export interface NetworkSource {
  /** As it was read; the network's schema checks it. */
  readonly config: unknown;
  /** Where the configuration comes from, for errors. */
  readonly origin: string;
  readonly parameters: ParameterSource;
}

export function checkpointSource(checkpoint: Checkpoint): NetworkSource {
  return {
    config: checkpoint.config,
    origin: `${checkpoint.folder}/config.json`,
    parameters: checkpointParameters(checkpoint),
  };
}

/**
 * Checks a configuration, builds a network and loads its parameters; waits for them. The network owns them; where
 * building fails they are freed.
 * @throws TamiasError `bad_weights` when configuration or tensors do not fit, or a parameter is not finite
 */
export function loadNetwork<Schema extends z.ZodType, Network>(
  ops: Ops,
  { config, origin, parameters: source }: NetworkSource,
  schema: Schema,
  build: (parameters: Parameters, config: z.output<Schema>) => Network,
): Network {
  const checked = parseWith(schema, config, origin);
  using cleanup = new DisposableStack();
  const parameters = cleanup.use(new Parameters(ops, source));
  const network = build(parameters, checked);
  parameters.checkFinite(origin);
  ops.memory.trim();
  cleanup.move();
  return network;
}
