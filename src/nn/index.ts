export { Mlp, type NeuronColumns } from "./mlp.ts";
export * from "./ops.ts";
export { Parameters } from "./parameters.ts";
export { TensorPool } from "./pool.ts";
