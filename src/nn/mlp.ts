import { type DeviceTensor, TamiasError } from "../../ffi/index.ts";
import type { Activation, Linear, Ops } from "./ops.ts";
import type { Parameters } from "./parameters.ts";

/**
 * out = fc2(activation(fc1(x))); hidden neurons are the columns that deltas choose among. Deltas read fc2 by neuron: where
 * its weight is a transposed view of such rows (`Parameters.weightColumns`), it is held once.
 */
export class Mlp {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly activation: Activation;
  readonly #parameters: Parameters;
  #columns: NeuronColumns | undefined;

  constructor(parameters: Parameters, fc1: Linear, fc2: Linear, activation: Activation) {
    this.#parameters = parameters;
    this.fc1 = fc1;
    this.fc2 = fc2;
    this.activation = activation;
  }

  get hidden(): number {
    return this.fc1.weight.shape[0] ?? 0;
  }

  dense(ops: Ops, x: DeviceTensor, out: DeviceTensor): void {
    using hidden = ops.memory.temporary([...x.shape.slice(0, -1), this.hidden]);
    ops.linear(x, this.fc1, hidden, this.activation);
    ops.linear(hidden, this.fc2, out);
  }

  /** fc2 by neuron, made on first use and kept with the parameters. */
  columns(ops: Ops): NeuronColumns {
    if (!this.#columns) {
      const rows = this.fc2.weight.permute(1, 0);
      if (rows.stride[1] !== 1)
        throw new TamiasError(
          "internal",
          "Deltas of an MLP need fc2 held by neuron: its weight is a copy of rows.",
        );
      const norms = this.#parameters.keep(ops.memory.own([this.hidden], "f32"));
      ops.rowNorms(rows, norms);
      this.#columns = { rows, norms };
    }
    return this.#columns;
  }
}

/** fc2 seen from its neurons: row n is what neuron n adds to the output. */
export interface NeuronColumns {
  /** [hidden, out] */
  readonly rows: DeviceTensor;
  /** F32 [hidden], their Euclidean norms. */
  readonly norms: DeviceTensor;
}
