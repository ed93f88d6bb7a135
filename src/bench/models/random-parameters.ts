import type { ParameterSource } from "../../nn/index.ts";
import type { RandomTensors } from "../random-tensors.ts";

/** Parameters of any name and shape: matrices of a size that keeps activations near 1, norms and biases likewise. */
export function randomParameters(random: RandomTensors): ParameterSource {
  return {
    has: () => true,
    fill(_ops, _name, out) {
      const inputs = out.shape.length < 2 ? 1 : (out.shape.at(-1) ?? 1);
      random.normal(out, inputs ** -0.5);
    },
  };
}
