/** A tensor on the host in float64, row-major: what references compute with. */
export class Values {
  readonly shape: readonly number[];
  readonly data: Float64Array;

  constructor(shape: readonly number[], data?: Float64Array) {
    this.shape = shape;
    this.data = data ?? new Float64Array(shape.reduce((product, size) => product * size, 1));
  }

  /** Each element from its index. */
  static build(shape: readonly number[], element: (...index: number[]) => number): Values {
    const values = new Values(shape);
    forEachIndex(shape, (index, position) => {
      values.data[position] = element(...index);
    });
    return values;
  }

  size(dimension: number): number {
    const size = this.shape.at(dimension);
    if (size === undefined) throw new RangeError(`[${this.shape.join(", ")}] has no dimension ${dimension}.`);
    return size;
  }

  at(...index: number[]): number {
    return this.data[this.#position(index)] ?? NaN;
  }

  set(value: number, ...index: number[]): void {
    this.data[this.#position(index)] = value;
  }

  map(change: (value: number, position: number) => number): Values {
    return new Values(this.shape, this.data.map(change));
  }

  /** The numbers of the last dimension at an index of the others (a view). */
  row(...index: number[]): Float64Array {
    const length = this.size(-1);
    const start = this.#position([...index, 0]);
    return this.data.subarray(start, start + length);
  }

  reshape(...shape: number[]): Values {
    return new Values(shape, this.data);
  }

  #position(index: readonly number[]): number {
    if (index.length !== this.shape.length)
      throw new RangeError(`[${index.join(", ")}] is no index into [${this.shape.join(", ")}].`);
    let position = 0;
    for (let dimension = 0; dimension < index.length; dimension++)
      position = position * (this.shape[dimension] ?? 0) + (index[dimension] ?? 0);
    return position;
  }
}

/** Every index of a shape in row-major order. The index array is the same one each time. */
export function forEachIndex(
  shape: readonly number[],
  visit: (index: readonly number[], position: number) => void,
): void {
  const index = shape.map(() => 0);
  const count = shape.reduce((product, size) => product * size, 1);
  for (let position = 0; position < count; position++) {
    visit(index, position);
    for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
      index[dimension] = (index[dimension] ?? 0) + 1;
      if ((index[dimension] ?? 0) < (shape[dimension] ?? 0)) break;
      index[dimension] = 0;
    }
  }
}
