/** One line of a kernel table. */
export interface KernelRow {
  readonly kernel: string;
  readonly shape: string;
  /** Share of columns computed, 0..1; 1 for dense work. */
  readonly density: number;
  readonly milliseconds: number;
  /** Useful operations per second, in 10^12. */
  readonly teraflops?: number;
  /** The dense rival of the same rounds. */
  readonly denseMilliseconds?: number;
  /** denseMilliseconds / milliseconds */
  readonly speedUp?: number;
  /** speedUp * density: 1 where a chosen column costs what a dense one does. */
  readonly efficiency?: number;
  /** Bytes that must move, over the time. */
  readonly gigabytesPerSecond?: number;
  /** Relative L2 error of sampled rows against float64 on the host, on the benchmark's own data. */
  readonly error?: number;
}

/** Fills in what follows from times and operations. */
export function row(
  kernel: string,
  shape: string,
  {
    density = 1,
    seconds,
    denseSeconds,
    flops,
    bytes,
    error,
  }: {
    density?: number;
    seconds: number;
    denseSeconds?: number;
    flops?: number;
    bytes?: number;
    error?: number;
  },
): KernelRow {
  return {
    kernel,
    shape,
    density,
    milliseconds: seconds * 1e3,
    ...(flops === undefined ? {} : { teraflops: flops / seconds / 1e12 }),
    ...(denseSeconds === undefined
      ? {}
      : {
          denseMilliseconds: denseSeconds * 1e3,
          speedUp: denseSeconds / seconds,
          efficiency: (denseSeconds / seconds) * density,
        }),
    ...(bytes === undefined ? {} : { gigabytesPerSecond: bytes / seconds / 1e9 }),
    ...(error === undefined ? {} : { error }),
  };
}
