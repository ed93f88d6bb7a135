/** enum tamias_dtype: code in the ABI and bytes an element. */
export const dtypes = {
  f32: { code: 0, bytes: 4 },
  bf16: { code: 1, bytes: 2 },
  f16: { code: 2, bytes: 2 },
  i8: { code: 3, bytes: 1 },
  f8_e4m3: { code: 4, bytes: 1 },
  i32: { code: 5, bytes: 4 },
  u16: { code: 6, bytes: 2 },
  u8: { code: 7, bytes: 1 },
} as const;

export type DType = keyof typeof dtypes;
