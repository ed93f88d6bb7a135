import { DeviceTensor, type DType } from "../../../ffi/index.ts";
import type { Bench } from "./bench.ts";
import type { Operand } from "./operand.ts";
import { Values } from "./values.ts";

/** Tokens from one window, of the same batch, to the next. */
const STEP = 3;

/**
 * A large input of little memory: [batch, heads, tokens, width], where each head sees a window of one short list of
 * random rows, three further on than the head before. Rows are aligned.
 */
export class Windows {
  readonly tensor: DeviceTensor;
  readonly #rows: Operand;
  readonly #tokens: number;
  readonly #heads: number;

  constructor(bench: Bench, shape: readonly [number, number, number, number], dtype: DType) {
    const [batch, heads, tokens, width] = shape;
    this.#rows = bench.normal([tokens + STEP * batch * heads, width], { dtype, layout: "aligned" });
    this.#tokens = tokens;
    this.#heads = heads;
    const { allocation, byteOffset } = this.#rows.tensor;
    const step = STEP * width;
    this.tensor = new DeviceTensor(allocation, dtype, shape, [heads * step, step, width, 1], byteOffset);
  }

  /** One head's rows, all or the given ones: [1, 1, rows, width]. */
  head(batch: number, head: number, rows?: readonly number[]): Values {
    const first = STEP * (batch * this.#heads + head);
    const { values } = this.#rows;
    const width = values.size(1);
    if (!rows) {
      const data = values.data.subarray(first * width, (first + this.#tokens) * width);
      return new Values([1, 1, this.#tokens, width], data);
    }
    return Values.build([1, 1, rows.length, width], (_, __, row = 0, i = 0) =>
      values.at(first + (rows[row] ?? NaN), i),
    );
  }
}
