import { Values } from "../support.ts";
import { activate } from "./activation.ts";
import { linear } from "./linear.ts";

/** Hidden activations in slabs, [batch, groups, hidden, group]; entries past the last token are 0. */
export function slabs(preActivations: Values, group: number, activation: number): Values {
  const [batches, tokens, hidden] = [preActivations.size(0), preActivations.size(1), preActivations.size(2)];
  return Values.build(
    [batches, Math.ceil(tokens / group), hidden, group],
    (batch = 0, at = 0, neuron = 0, i = 0) => {
      const token = at * group + i;
      return token < tokens ? activate(activation, preActivations.at(batch, token, neuron)) : 0;
    },
  );
}

/** Slabs back to rows: [batch, tokens, hidden]. */
export function rowsOfSlabs(activations: Values, tokens: number): Values {
  const [batches, hidden, group] = [activations.size(0), activations.size(2), activations.size(3)];
  return Values.build([batches, tokens, hidden], (batch = 0, token = 0, neuron = 0) =>
    activations.at(batch, Math.floor(token / group), neuron, token % group),
  );
}

/** fc2: activations W2 + b2 with W2 given transposed, [hidden, n]. */
export function fc2(activations: Values, tokens: number, w2t: Values, b2?: Values): Values {
  return linear(rowsOfSlabs(activations, tokens), transposed(w2t), b2);
}

export function transposed(matrix: Values): Values {
  return Values.build([matrix.size(1), matrix.size(0)], (row = 0, column = 0) => matrix.at(column, row));
}

/** Means over each group of neighbouring tokens: x [batch, tokens, d] -> [batch, groups, d]. */
export function blockMeans(x: Values, group: number): Values {
  const tokens = x.size(1);
  return Values.build([x.size(0), Math.ceil(tokens / group), x.size(2)], (batch = 0, at = 0, i = 0) => {
    const end = Math.min(tokens, (at + 1) * group);
    let sum = 0;
    for (let token = at * group; token < end; token++) sum += x.at(batch, token, i);
    return sum / (end - at * group);
  });
}
