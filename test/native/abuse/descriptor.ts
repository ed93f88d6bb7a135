const MAX_RANK = 6;
const INT64 = 64;

/** A `tamias_tensor` whose fields may hold anything at all. */
export class Descriptor {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes.slice();
    this.#view = new DataView(this.bytes.buffer);
  }

  get data(): bigint {
    return this.#view.getBigUint64(0, true);
  }

  set data(address: bigint) {
    this.#view.setBigUint64(0, BigInt.asUintN(INT64, address), true);
  }

  get dtype(): number {
    return this.#view.getInt32(8, true);
  }

  set dtype(code: number) {
    this.#view.setInt32(8, code, true);
  }

  get rank(): number {
    return this.#view.getInt32(12, true);
  }

  set rank(rank: number) {
    this.#view.setInt32(12, rank, true);
  }

  shape(dimension: number): bigint {
    return this.#view.getBigInt64(16 + 8 * dimension, true);
  }

  setShape(dimension: number, size: bigint): void {
    this.#view.setBigInt64(16 + 8 * dimension, BigInt.asIntN(INT64, size), true);
  }

  stride(dimension: number): bigint {
    return this.#view.getBigInt64(16 + 8 * (MAX_RANK + dimension), true);
  }

  setStride(dimension: number, step: bigint): void {
    this.#view.setBigInt64(16 + 8 * (MAX_RANK + dimension), BigInt.asIntN(INT64, step), true);
  }

  toString(): string {
    const dimensions = Array.from(
      { length: Math.max(0, Math.min(MAX_RANK, this.rank)) },
      (_, dimension) => dimension,
    );
    const shape = dimensions.map((dimension) => this.shape(dimension));
    const stride = dimensions.map((dimension) => this.stride(dimension));
    return `{0x${this.data.toString(16)} dtype ${this.dtype} rank ${this.rank} [${shape.join(" ")}] by [${stride.join(" ")}]}`;
  }
}
