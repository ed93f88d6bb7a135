import { expect } from "bun:test";
import { Device, DeviceTensor, dtypes } from "../../ffi/index.ts";
import type { Arguments } from "../../ffi/library.ts";
import type { SymbolName } from "../../ffi/symbols.ts";
import { type Bench, nativeTests } from "./support.ts";

const native = await nativeTests();

type AfterStream<Name extends SymbolName> = Arguments<Name> extends [unknown, ...infer Rest] ? Rest : never;

/** Checks that a call is refused as bad input, in a sentence with the function and one of the arguments. */
function refusals(bench: Bench) {
  return <Name extends SymbolName>(name: Name, about: string, ...args: AfterStream<Name>): void => {
    let message = "";
    try {
      bench.call(name, ...args);
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/bad_input|unsupported/) });
      message = (error as Error).message;
    }
    expect(message, `${name} with a wrong ${about}`).toMatch(
      new RegExp(`\\b${name.replace("tamias_", "")}\\b`),
    );
    expect(message, `${name} with a wrong ${about}`).toMatch(new RegExp(`\\b(${about})\\b`));
  };
}

/** Short names for the tensors of these tests. */
function makers(bench: Bench) {
  return {
    f32: (...shape: number[]) => bench.normal(shape).tensor,
    i32: (...shape: number[]) => bench.uniform(shape, 0, 0, { dtype: "i32" }).tensor,
    u8: (...shape: number[]) => bench.uniform(shape, 0, 0, { dtype: "u8" }).tensor,
    u16: (...shape: number[]) => bench.uniform(shape, 0, 0, { dtype: "u16" }).tensor,
  };
}

/** Rows that share elements: their stride is below their length. */
function overlappingRows(line: DeviceTensor, rows: number, length: number): DeviceTensor {
  return new DeviceTensor(line.allocation, line.dtype, [rows, length], [length - 1, 1], line.byteOffset);
}

native.test("moving data: shapes and dtypes that do not fit", (bench) => {
  const refused = refusals(bench);
  const { f32, i32, u8 } = makers(bench);
  refused("tamias_copy", "in|out", f32(3, 4), f32(4, 3));
  refused("tamias_copy", "in|out", f32(3, 4), f32(3, 4, 1));
  refused("tamias_copy", "in|out", f32(3, 4), i32(3, 4));
  refused("tamias_copy", "in|out", u8(3, 4), i32(3, 4));
  refused("tamias_copy", "out", f32(3, 4), f32(3, 1).expand(3, 4));
  const wide = f32(9);
  refused("tamias_copy", "out", wide.slice(0, 0, 8), wide.slice(0, 1, 9));
  refused("tamias_fill", "out", 1, f32(3, 1).expand(3, 4));
  refused("tamias_gather_rows", "indices", f32(3, 4), f32(2), f32(2, 4));
  refused("tamias_gather_rows", "indices|out", f32(3, 4), i32(2), f32(3, 4));
  refused("tamias_gather_rows", "table|out", f32(3, 4), i32(2), f32(2, 5));
  refused("tamias_gather_rows", "table|out", f32(2, 3, 4), i32(2), f32(2, 4));
  refused("tamias_gather_rows", "table|out", f32(2, 3, 4), i32(2), f32(3, 2, 4));
  refused("tamias_gather_rows", "table", f32(0, 4), i32(2), f32(2, 4));
  refused("tamias_change_norms", "before", f32(3, 4), f32(4, 3), f32(2));
  refused("tamias_change_norms", "before", f32(3, 4), i32(3, 4), f32(2));
  refused("tamias_change_norms", "now", u8(3, 4), null, f32(2));
  refused("tamias_change_norms", "out", f32(3, 4), null, f32(3));
  refused("tamias_change_norms", "out", f32(3, 4), null, i32(2));
  refused("tamias_change_norms", "out", f32(2), f32(1).expand(2), f32(1).expand(2));
  const pair = f32(2);
  refused("tamias_change_norms", "out", pair, null, pair);
  refused("tamias_scale_rows", "scale", f32(3, 4), f32(4));
  refused("tamias_scale_rows", "scale", f32(3, 4), f32(0));
  refused("tamias_scale_rows", "x", i32(3, 4), f32(3));
  const path = new TextEncoder().encode("/dev/null\0");
  refused("tamias_tensor_load", "out", path, 0, dtypes.f32.code, f32(4, 3).permute(1, 0));
  refused("tamias_tensor_load", "out|file_dtype", path, 0, dtypes.f32.code, i32(4, 3));
});

native.test("element-wise: shapes that do not fit, outputs that repeat or overlap", (bench) => {
  const refused = refusals(bench);
  const { f32, i32 } = makers(bench);
  refused("tamias_activate", "x|out", 1, f32(3, 4), f32(4, 3));
  refused("tamias_activate", "x", 1, i32(3, 4), f32(3, 4));
  refused("tamias_activate", "out", 1, f32(3, 4), f32(1, 4).expand(3, 4));
  refused("tamias_combine", "a|b", 1, f32(3, 4), 1, f32(3, 5), f32(3, 4));
  refused("tamias_combine", "out", 1, f32(3, 4), 1, f32(3, 4), f32(3, 5));
  refused("tamias_multiply", "a|b", f32(3, 4), f32(4), f32(3, 4));
  const wide = f32(9);
  refused("tamias_multiply", "out", wide.slice(0, 0, 8), f32(8), wide.slice(0, 1, 9));
  refused("tamias_gate_residual", "gate", f32(2, 3, 4), f32(2, 5), f32(2, 3, 4), f32(2, 3, 4));
  refused("tamias_gate_residual", "x|residual", f32(2, 3, 4), f32(2, 4), f32(2, 5, 4), f32(2, 3, 4));
  refused("tamias_gate_residual", "out", f32(2, 3, 4), f32(2, 4), f32(2, 3, 4), f32(2, 3, 5));
});

native.test("dense layers: shapes that do not fit, rows with gaps, outputs over inputs", (bench) => {
  const refused = refusals(bench);
  const { f32, i32 } = makers(bench);
  const x = f32(4, 6);
  refused("tamias_linear", "weight", x, f32(5, 7), null, 0, 0, f32(4, 5));
  refused("tamias_linear", "bias", x, f32(5, 6), f32(6), 0, 0, f32(4, 5));
  refused("tamias_linear", "out", x, f32(5, 6), null, 0, 0, f32(5, 5));
  refused("tamias_linear", "out", x, f32(5, 6), null, 0, 0, f32(4, 6));
  refused("tamias_linear", "out", x, f32(5, 6), null, 0, 0, f32(1, 4, 5));
  refused("tamias_linear", "weight", x, i32(5, 6), null, 0, 0, f32(4, 5));
  refused("tamias_linear", "x", f32(6, 4).permute(1, 0), f32(5, 6), null, 0, 0, f32(4, 5));
  refused("tamias_linear", "weight", x, f32(6, 5, 2).permute(1, 0, 2).select(2, 0), null, 0, 0, f32(4, 5));
  const column = f32(6, 1).expand(6, 5);
  refused("tamias_linear", "weight", x, column.permute(1, 0), null, 0, 0, f32(4, 5));
  refused("tamias_linear", "weight", x, overlappingRows(f32(40), 6, 5).permute(1, 0), null, 0, 0, f32(4, 5));
  refused("tamias_linear", "out", x, f32(5, 6), null, 0, 0, f32(5, 4).permute(1, 0));
  refused("tamias_linear", "out", x, f32(6, 6), null, 0, 0, x);
  refused("tamias_linear", "activation|accumulate", x, f32(5, 6), null, 1, 1, f32(4, 5));
  const tokens = f32(2, 4, 6);
  refused("tamias_layer_norm", "weight", tokens, f32(5), null, null, null, 1e-6, f32(2, 4, 6));
  refused("tamias_layer_norm", "bias", tokens, null, f32(5), null, null, 1e-6, f32(2, 4, 6));
  refused("tamias_layer_norm", "scale", tokens, null, null, f32(4, 6), null, 1e-6, f32(2, 4, 6));
  refused("tamias_layer_norm", "shift", tokens, null, null, null, f32(2, 5), 1e-6, f32(2, 4, 6));
  refused("tamias_layer_norm", "out", tokens, null, null, null, null, 1e-6, f32(2, 4, 7));
  refused("tamias_rms_norm", "weight", x, f32(5), 1e-6, f32(4, 6));
  refused("tamias_rms_norm", "out", x, null, 1e-6, f32(6, 4));
  const heads = f32(1, 2, 4, 8);
  refused("tamias_norm_rope", "weight", heads, f32(4), 1e-6, null, null, 0, f32(1, 2, 4, 8));
  refused("tamias_norm_rope", "cos", heads, null, 1e-6, f32(4, 8), f32(4, 4), 0, f32(1, 2, 4, 8));
  refused("tamias_norm_rope", "sin", heads, null, 1e-6, f32(4, 4), f32(3, 4), 0, f32(1, 2, 4, 8));
  refused("tamias_norm_rope", "cos|sin", heads, null, 1e-6, f32(4, 4), null, 0, f32(1, 2, 4, 8));
  refused("tamias_norm_rope", "cos|sin", heads, null, 1e-6, null, f32(4, 4), 0, f32(1, 2, 4, 8));
  refused(
    "tamias_norm_rope",
    "x|headDim|cos",
    f32(1, 2, 4, 7),
    null,
    1e-6,
    f32(4, 3),
    f32(4, 3),
    0,
    f32(1, 2, 4, 7),
  );
});

native.test("attention: shapes that do not fit", (bench) => {
  const refused = refusals(bench);
  const { f32 } = makers(bench);
  const [q, k, v, out] = [f32(1, 2, 5, 8), f32(1, 2, 6, 8), f32(1, 2, 6, 8), f32(1, 2, 5, 8)];
  refused("tamias_attention", "k", q, f32(1, 2, 6, 4), v, null, 1, 0, out, null);
  refused("tamias_attention", "k", q, f32(1, 3, 6, 8), v, null, 1, 0, out, null);
  refused("tamias_attention", "k|v", q, k, f32(1, 2, 7, 8), null, 1, 0, out, null);
  refused("tamias_attention", "bias", q, k, v, f32(2, 6, 5), 1, 0, out, null);
  refused("tamias_attention", "out", q, k, v, null, 1, 0, f32(1, 2, 6, 8), null);
  refused("tamias_attention", "lse", q, k, v, null, 1, 0, out, f32(1, 2, 6));
  refused("tamias_attention", "k", q, f32(1, 2, 8, 6).permute(0, 1, 3, 2), v, null, 1, 0, out, null);
  const [lse, sums] = [f32(1, 2, 5), f32(1, 2, 2, 6)];
  refused("tamias_attention_column_sums", "column_sums", q, k, v, 1, 2, null, out, lse, sums);
  refused("tamias_attention_column_sums", "previous_lse", q, k, v, 1, 4, f32(1, 2, 6), out, lse, sums);
  refused("tamias_attention_column_sums", "lse", q, k, v, 1, 4, null, out, f32(1, 2, 4), sums);
  refused("tamias_attention_column_sums", "group", q, k, v, 1, 0, null, out, lse, sums);
});

native.test("column-sparse attention: masks and caches that do not fit", (bench) => {
  const refused = refusals(bench);
  const { f32, i32, u8, u16 } = makers(bench);
  const name = "tamias_attention_columns";
  const qkv = [f32(1, 2, 5, 8), f32(1, 2, 6, 8), f32(1, 2, 6, 8)] as const;
  const [out, cache, cacheLse, indices, counts] = [
    f32(1, 2, 5, 8),
    f32(1, 2, 5, 8),
    f32(1, 2, 5),
    i32(1, 2, 2, 3),
    i32(1, 2, 2),
  ];
  refused(name, "indices|counts", ...qkv, 1, 4, i32(1, 2, 3, 3), counts, 0, 1, null, null, out, null);
  refused(name, "indices|counts", ...qkv, 1, 4, i32(1, 1, 2, 3), counts, 0, 1, null, null, out, null);
  refused(name, "indices", ...qkv, 1, 4, u8(1, 2, 2, 3), counts, 0, 1, null, null, out, null);
  refused(
    name,
    "indices",
    ...qkv,
    1,
    4,
    i32(1, 2, 3, 2).permute(0, 1, 3, 2),
    counts,
    0,
    1,
    null,
    null,
    out,
    null,
  );
  refused(name, "counts", ...qkv, 1, 4, indices, u16(1, 2, 2), 0, 1, null, null, out, null);
  refused(name, "counts", ...qkv, 1, 4, indices, i32(1, 2, 3), 0, 1, null, null, out, null);
  refused(name, "cache", ...qkv, 1, 4, indices, counts, 1, 1, null, null, out, null);
  refused(name, "cache", ...qkv, 1, 4, indices, counts, 2, 1, null, cacheLse, out, null);
  refused(name, "cache_lse", ...qkv, 1, 4, indices, counts, 2, 1, cache, null, out, null);
  refused(name, "cache", ...qkv, 1, 4, indices, counts, 1, 1, f32(1, 2, 4, 8), null, out, null);
  refused(name, "cache_lse", ...qkv, 1, 4, indices, counts, 2, 1, cache, f32(1, 2, 4), out, null);
  refused(name, "lse", ...qkv, 1, 4, indices, counts, 0, 1, null, null, out, f32(1, 2, 4));
  const [o, lse] = [f32(1, 2, 5, 8), f32(1, 2, 5)];
  refused("tamias_attention_cache", "o_chosen", 1, 1, o, null, f32(1, 2, 4, 8), null, cache, null);
  refused("tamias_attention_cache", "cache", 1, 1, o, null, out, null, f32(1, 2, 4, 8), null);
  refused("tamias_attention_cache", "lse", 2, 1, o, null, out, lse, cache, cacheLse);
  refused("tamias_attention_cache", "lse_chosen", 2, 1, o, lse, out, null, cache, cacheLse);
  refused("tamias_attention_cache", "cache_lse", 2, 1, o, lse, out, lse, cache, null);
  refused("tamias_attention_cache", "lse_chosen", 2, 1, o, lse, out, f32(1, 2, 4), cache, cacheLse);
});

native.test("convolutions: shapes that do not fit", (bench) => {
  const refused = refusals(bench);
  const { f32, u8 } = makers(bench);
  const x = f32(1, 3, 5, 6);
  const weight = f32(4, 3, 3, 3);
  refused("tamias_conv2d", "weight", x, f32(4, 2, 3, 3), null, 1, 1, 1, 1, 1, f32(1, 4, 5, 6));
  refused("tamias_conv2d", "bias", x, weight, f32(3), 1, 1, 1, 1, 1, f32(1, 4, 5, 6));
  refused("tamias_conv2d", "out", x, weight, null, 1, 0, 1, 1, 1, f32(1, 4, 5, 6));
  refused("tamias_conv2d", "out", x, weight, null, 2, 1, 1, 1, 1, f32(1, 4, 5, 6));
  refused("tamias_conv2d", "x", x.permute(0, 1, 3, 2), weight, null, 1, 1, 1, 1, 1, f32(1, 4, 6, 5));
  refused("tamias_conv2d", "weight|x|out", f32(1, 3, 2, 2), weight, null, 1, 0, 0, 0, 0, f32(1, 4, 1, 1));
  refused("tamias_group_norm", "groups", x, 2, null, null, 1e-6, 0, f32(1, 3, 5, 6));
  refused("tamias_group_norm", "weight", x, 3, f32(4), null, 1e-6, 0, f32(1, 3, 5, 6));
  refused("tamias_group_norm", "out", x, 3, null, null, 1e-6, 0, f32(1, 3, 6, 5));
  refused("tamias_upsample_nearest", "out", x, 2, f32(1, 3, 10, 11));
  refused("tamias_image_rgb8", "x", f32(4, 5, 6), u8(5, 6, 4));
  refused("tamias_image_rgb8", "out", f32(3, 5, 6), u8(3, 5, 6));
});

native.test("masks: shapes that do not fit", (bench) => {
  const refused = refusals(bench);
  const { f32, i32, u8, u16 } = makers(bench);
  const name = "tamias_select_top_k";
  const [scores, indices, counts] = [f32(1, 2, 3, 12), i32(1, 2, 3, 5), i32(1, 2, 3)];
  refused(name, "always", scores, 3, u8(11), null, indices, counts);
  refused(name, "dense_groups", scores, 3, null, u8(2), indices, counts);
  refused(name, "indices", scores, 3, null, null, i32(1, 3, 2, 5), counts);
  refused(name, "counts", scores, 3, null, null, indices, i32(1, 3, 2));
  refused(name, "scores", f32(1, 2, 12, 3).permute(0, 1, 3, 2), 3, null, null, indices, counts);
  refused(name, "always", scores, 3, f32(12), null, indices, counts);
  const many = f32(1, 1, 1, 65_537);
  refused(name, "indices", many, 3, null, null, u16(1, 1, 1, 5), i32(1, 1, 1));
  refused("tamias_select_mass", "minimum|maximum", scores, 0.5, 4, 3, null, null, indices, counts);
  refused("tamias_block_means", "out", f32(1, 10, 6), 4, f32(1, 2, 6));
  refused("tamias_neuron_scores", "means_cached|means_now", f32(1, 3, 6), f32(1, 3, 5), f32(6), f32(1, 3, 6));
  refused("tamias_neuron_scores", "column_norm", f32(1, 3, 6), f32(1, 3, 6), f32(5), f32(1, 3, 6));
  refused(
    "tamias_update_chosen",
    "indices|counts",
    f32(1, 3, 6),
    i32(1, 2, 3, 4),
    i32(1, 2, 3),
    f32(1, 3, 6),
  );
  refused("tamias_update_chosen", "now|cached", f32(1, 3, 6), i32(1, 1, 3, 4), i32(1, 1, 3), f32(1, 3, 7));
  refused("tamias_row_norms", "out", f32(4, 6), f32(6));
});

native.test("packed masks: shapes that do not fit, and too few bytes", (bench) => {
  const refused = refusals(bench);
  const { f32, i32, u8, u16 } = makers(bench);
  const [indices, counts] = [i32(1, 2, 3, 10), i32(1, 2, 3)];
  refused("tamias_mask_pack", "packed", indices, counts, 520, u8(1, 2, 3, 11));
  refused("tamias_mask_pack", "packed", indices, counts, 9, u8(1, 2, 3, 8));
  refused("tamias_mask_pack", "packed", indices, counts, 100, u16(1, 2, 3, 10));
  refused("tamias_mask_pack", "packed", indices, counts, 100, u8(1, 3, 2, 10).permute(0, 2, 1, 3));
  refused("tamias_mask_pack", "counts|indices", indices, i32(1, 3, 3), 100, u8(1, 2, 3, 10));
  refused("tamias_mask_pack", "counts|indices", indices, counts, 100, u8(1, 3, 3, 10));
  refused("tamias_mask_pack", "columns", indices, counts, -1, u8(1, 2, 3, 10));
  refused("tamias_mask_pack", "indices", u16(1, 2, 3, 10), counts, 65_537, u8(1, 2, 3, 999));
  refused("tamias_mask_unpack", "packed", i32(1, 2, 3, 10), counts, indices);
  refused("tamias_mask_unpack", "indices", u8(1, 2, 3, 10), counts, f32(1, 2, 3, 10));
  refused("tamias_mask_unpack", "counts", u8(1, 2, 3, 10), f32(1, 2, 3), indices);
  refused("tamias_mask_unpack", "indices|counts", u8(1, 2, 3, 10), counts, i32(1, 2, 4, 10));
});

native.test("MLP: shapes that do not fit", (bench) => {
  const refused = refusals(bench);
  const { f32, i32 } = makers(bench);
  const [x, w1, slabs] = [f32(1, 10, 6), f32(7, 6), f32(1, 3, 7, 4)];
  refused("tamias_mlp_refresh_fc1", "w1", x, f32(7, 5), null, 2, slabs, null);
  refused("tamias_mlp_refresh_fc1", "b1", x, w1, f32(6), 2, slabs, null);
  refused("tamias_mlp_refresh_fc1", "activations", x, w1, null, 2, f32(1, 2, 7, 4), null);
  refused("tamias_mlp_refresh_fc1", "activations", x, w1, null, 2, f32(1, 3, 8, 4), null);
  refused("tamias_mlp_refresh_fc1", "means", x, w1, null, 2, slabs, f32(1, 3, 6));
  refused("tamias_mlp_refresh_fc2", "w2t|activations", slabs, f32(6, 5), null, f32(1, 10, 5));
  refused("tamias_mlp_refresh_fc2", "b2", slabs, f32(7, 5), f32(6), f32(1, 10, 5));
  refused("tamias_mlp_refresh_fc2", "out|activations", slabs, f32(7, 5), null, f32(1, 13, 5));
  const [indices, counts, delta] = [i32(1, 1, 3, 4), i32(1, 1, 3), f32(1, 3, 4, 4)];
  refused("tamias_mlp_delta_fc1", "indices", x, w1, null, 2, i32(1, 1, 2, 4), counts, slabs, delta);
  refused("tamias_mlp_delta_fc1", "counts", x, w1, null, 2, indices, i32(1, 1, 2), slabs, delta);
  refused("tamias_mlp_delta_fc1", "delta", x, w1, null, 2, indices, counts, slabs, f32(1, 3, 5, 4));
  refused("tamias_mlp_delta_fc1", "activations", x, w1, null, 2, indices, counts, f32(1, 3, 6, 4), delta);
  refused("tamias_mlp_delta_fc2", "delta", f32(1, 2, 4, 4), indices, counts, f32(7, 5), f32(1, 10, 5));
  refused("tamias_mlp_delta_fc2", "out|w2t", delta, indices, counts, f32(7, 5), f32(1, 10, 6));
});

native.test("host memory is refused by every op but copies and loads, by name", (bench) => {
  const refused = refusals(bench);
  const { f32 } = makers(bench);
  using host = bench.device.tensor("f32", [4, 6], "host");
  const message = (call: () => void) => expect(call).toThrow(/host memory.*copy/);
  message(() => bench.call("tamias_fill", 1, host));
  message(() => bench.call("tamias_change_norms", f32(4, 6), host, f32(2)));
  refused("tamias_fill", "out", 1, host);
  refused("tamias_activate", "x", 1, host, f32(4, 6));
  refused("tamias_activate", "out", 1, f32(4, 6), host);
  refused("tamias_multiply", "b", f32(4, 6), host, f32(4, 6));
  refused("tamias_linear", "x", host, f32(5, 6), null, 0, 0, f32(4, 5));
  refused("tamias_linear", "weight", f32(3, 6), host, null, 0, 0, f32(3, 4));
  refused("tamias_linear", "bias", f32(3, 6), f32(4, 6), host.select(1, 0), 0, 0, f32(3, 4));
  refused("tamias_gather_rows", "table", host, bench.uniform([2], 0, 0, { dtype: "i32" }).tensor, f32(2, 6));
});

native.test("scalars that no op has a meaning for", (bench) => {
  const refused = refusals(bench);
  const { f32, i32 } = makers(bench);
  const [q, k] = [f32(1, 2, 5, 8), f32(1, 2, 6, 8)];
  refused("tamias_attention", "scale", q, k, k, null, Infinity, 0, f32(1, 2, 5, 8), null);
  refused("tamias_layer_norm", "epsilon", f32(1, 2, 3), null, null, null, null, -1, f32(1, 2, 3));
  refused(
    "tamias_select_mass",
    "mass",
    f32(1, 1, 1, 4),
    1.5,
    0,
    4,
    null,
    null,
    i32(1, 1, 1, 4),
    i32(1, 1, 1),
  );
  refused("tamias_select_top_k", "k", f32(1, 1, 1, 4), -1, null, null, i32(1, 1, 1, 4), i32(1, 1, 1));
});

native.test("empty tensors are no work, not mistakes", (bench) => {
  const { f32, i32, u8 } = makers(bench);
  bench.call("tamias_copy", f32(3, 0), f32(3, 0));
  bench.call("tamias_fill", 1, f32(0));
  bench.call("tamias_gather_rows", f32(3, 4), i32(0), f32(0, 4));
  bench.call("tamias_activate", 1, f32(0, 4), f32(0, 4));
  bench.call("tamias_combine", 1, f32(0, 4), 1, f32(0, 4), f32(0, 4));
  bench.call("tamias_multiply", f32(0, 4), f32(0, 4), f32(0, 4));
  bench.call("tamias_gate_residual", f32(2, 0, 4), f32(2, 4), f32(2, 0, 4), f32(2, 0, 4));
  bench.call("tamias_scale_rows", f32(0, 4), f32(1));
  bench.call("tamias_linear", f32(0, 6), f32(5, 6), f32(5), 0, 0, f32(0, 5));
  bench.call("tamias_layer_norm", f32(2, 0, 6), null, null, null, null, 1e-6, f32(2, 0, 6));
  bench.call("tamias_rms_norm", f32(0, 6), null, 1e-6, f32(0, 6));
  bench.call("tamias_norm_rope", f32(1, 2, 0, 8), null, 1e-6, f32(0, 4), f32(0, 4), 0, f32(1, 2, 0, 8));
  bench.call(
    "tamias_attention",
    f32(1, 2, 0, 8),
    f32(1, 2, 3, 8),
    f32(1, 2, 3, 8),
    null,
    1,
    0,
    f32(1, 2, 0, 8),
    null,
  );
  bench.call("tamias_conv2d", f32(0, 3, 5, 5), f32(4, 3, 3, 3), null, 1, 1, 1, 1, 1, f32(0, 4, 5, 5));
  bench.call("tamias_group_norm", f32(0, 4, 5, 5), 2, null, null, 1e-6, 0, f32(0, 4, 5, 5));
  bench.call("tamias_upsample_nearest", f32(0, 4, 5, 5), 2, f32(0, 4, 10, 10));
  bench.call("tamias_image_rgb8", f32(3, 0, 5), u8(0, 5, 3));
  bench.call("tamias_select_top_k", f32(0, 2, 3, 4), 2, null, null, i32(0, 2, 3, 4), i32(0, 2, 3));
  bench.call("tamias_block_means", f32(0, 5, 6), 4, f32(0, 2, 6));
  bench.call("tamias_neuron_scores", f32(0, 3, 6), f32(0, 3, 6), f32(6), f32(0, 3, 6));
  bench.call("tamias_row_norms", f32(0, 6), f32(0));
  bench.call("tamias_mlp_refresh_fc1", f32(0, 5, 6), f32(7, 6), null, 1, f32(0, 2, 7, 4), null);
  bench.call("tamias_mlp_refresh_fc2", f32(0, 2, 7, 4), f32(7, 5), null, f32(0, 5, 5));
  bench.stream.synchronize();
});

native.test("what belongs to one device is refused by another", async (bench) => {
  using other = await Device.open({ backend: native.backend });
  using stranger = other.tensor("f32", [4]);
  using event = other.createEvent();
  refusals(bench)("tamias_fill", "out", 1, stranger);
  expect(() => event.record(bench.stream)).toThrow("device");
  expect(() => event.holdBack(bench.stream)).toThrow("device");
  expect(() => bench.stream.read(stranger, new Float32Array(4))).toThrow("address");
});
