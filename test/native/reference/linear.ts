import { Values } from "../support.ts";
import { activate } from "./activation.ts";

/** activation(x W^T + bias): x [..., in], weight [n, in]. */
export function linear(x: Values, weight: Values, bias?: Values, activation = 0): Values {
  const [outputs, inputs] = [weight.size(0), weight.size(1)];
  const rows = x.data.length / Math.max(1, inputs);
  const out = new Values([...x.shape.slice(0, -1), outputs]);
  for (let row = 0; row < rows; row++)
    for (let output = 0; output < outputs; output++) {
      let sum = bias?.at(output) ?? 0;
      for (let input = 0; input < inputs; input++)
        sum += (x.data[row * inputs + input] ?? NaN) * (weight.data[output * inputs + input] ?? NaN);
      out.data[row * outputs + output] = activate(activation, sum);
    }
  return out;
}
