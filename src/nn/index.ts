export * from "./ops.ts";
export { Parameters } from "./parameters.ts";
export { TensorPool } from "./pool.ts";
