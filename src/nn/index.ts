export { checkpointParameters } from "./checkpoint-parameters.ts";
export { DryRun } from "./dry-run.ts";
export { hostValues, relativeError } from "./host-values.ts";
export { checkpointSource, loadNetwork, type NetworkSource } from "./load-network.ts";
export { Memory } from "./memory.ts";
export { Mlp, type NeuronColumns } from "./mlp.ts";
export * from "./ops.ts";
export { Parameters, type ParameterSource } from "./parameters.ts";
