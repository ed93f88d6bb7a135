/**
 * The symbol table of `kernels/include/tamias.h`, in its order: one entry a function, one type an argument.
 * `test/ffi/symbols.test.ts` proves that header, table and built libraries agree.
 */

/** What an argument is in C: a number, a 64-bit handle or address, a tensor descriptor, or host bytes. */
export type ArgumentType = "i32" | "i64" | "f32" | "f64" | "u64" | "tensor" | "tensor?" | "bytes";

/** Raised together with TAMIAS_ABI_VERSION in the header. */
export const ABI_VERSION = 2;

export const symbols = {
  tamias_abi_version: [],
  tamias_last_error: ["bytes", "u64"],

  tamias_device_count: ["bytes"],
  tamias_device_open: ["i32", "i32", "bytes"],
  tamias_device_close: ["u64"],
  tamias_device_info_get: ["u64", "bytes"],
  tamias_memory_alloc: ["u64", "u64", "i32", "bytes"],
  tamias_memory_free: ["u64", "u64"],
  tamias_memory_write: ["u64", "u64", "bytes", "u64"],
  tamias_memory_read: ["u64", "bytes", "u64", "u64"],

  tamias_stream_create: ["u64", "u64", "bytes"],
  tamias_stream_destroy: ["u64"],
  tamias_stream_synchronize: ["u64"],
  tamias_stream_reserve: ["u64", "u64"],
  tamias_stream_workspace_needed: ["u64", "bytes"],
  tamias_event_create: ["u64", "bytes"],
  tamias_event_destroy: ["u64"],
  tamias_event_record: ["u64", "u64"],
  tamias_event_wait: ["u64", "u64"],
  tamias_event_query: ["u64"],
  tamias_event_synchronize: ["u64"],
  tamias_event_elapsed: ["u64", "u64", "bytes"],

  tamias_tensor_load: ["u64", "bytes", "u64", "i32", "tensor"],
  tamias_scale_rows: ["u64", "tensor", "tensor"],
  tamias_copy: ["u64", "tensor", "tensor"],
  tamias_fill: ["u64", "f64", "tensor"],
  tamias_gather_rows: ["u64", "tensor", "tensor", "tensor"],
  tamias_change_norms: ["u64", "tensor", "tensor?", "tensor"],

  tamias_activate: ["u64", "i32", "tensor", "tensor"],
  tamias_combine: ["u64", "f32", "tensor", "f32", "tensor", "tensor"],
  tamias_multiply: ["u64", "tensor", "tensor", "tensor"],
  tamias_gate_residual: ["u64", "tensor", "tensor", "tensor", "tensor"],

  tamias_linear: ["u64", "tensor", "tensor", "tensor?", "i32", "i32", "tensor"],
  tamias_layer_norm: ["u64", "tensor", "tensor?", "tensor?", "tensor?", "tensor?", "f32", "tensor"],
  tamias_rms_norm: ["u64", "tensor", "tensor?", "f32", "tensor"],
  tamias_norm_rope: ["u64", "tensor", "tensor?", "f32", "tensor?", "tensor?", "i32", "tensor"],
  tamias_attention: ["u64", "tensor", "tensor", "tensor", "tensor?", "f32", "i32", "tensor", "tensor?"],

  tamias_conv2d: ["u64", "tensor", "tensor", "tensor?", "i32", "i32", "i32", "i32", "i32", "tensor"],
  tamias_group_norm: ["u64", "tensor", "i32", "tensor?", "tensor?", "f32", "i32", "tensor"],
  tamias_upsample_nearest: ["u64", "tensor", "i32", "tensor"],
  tamias_image_rgb8: ["u64", "tensor", "tensor"],

  tamias_select_top_k: ["u64", "tensor", "i64", "tensor?", "tensor?", "tensor", "tensor"],
  tamias_select_mass: ["u64", "tensor", "f32", "i64", "i64", "tensor?", "tensor?", "tensor", "tensor"],
  tamias_select_threshold: ["u64", "tensor", "f32", "i64", "tensor?", "tensor?", "tensor", "tensor"],
  tamias_mask_pack: ["u64", "tensor", "tensor", "i64", "tensor"],
  tamias_mask_unpack: ["u64", "tensor", "tensor", "tensor"],
  tamias_block_means: ["u64", "tensor", "i64", "tensor"],
  tamias_neuron_scores: ["u64", "tensor", "tensor", "tensor", "tensor"],
  tamias_update_chosen: ["u64", "tensor", "tensor", "tensor", "tensor"],
  tamias_row_norms: ["u64", "tensor", "tensor"],

  tamias_attention_column_sums: [
    "u64",
    "tensor",
    "tensor",
    "tensor",
    "f32",
    "i64",
    "tensor?",
    "tensor",
    "tensor",
    "tensor",
  ],
  tamias_attention_columns: [
    "u64",
    "tensor",
    "tensor",
    "tensor",
    "f32",
    "i64",
    "tensor",
    "tensor",
    "i32",
    "f32",
    "tensor?",
    "tensor?",
    "tensor",
    "tensor?",
  ],
  tamias_attention_cache: [
    "u64",
    "i32",
    "f32",
    "tensor",
    "tensor?",
    "tensor",
    "tensor?",
    "tensor",
    "tensor?",
  ],

  tamias_mlp_refresh_fc1: ["u64", "tensor", "tensor", "tensor?", "i32", "tensor", "tensor?"],
  tamias_mlp_refresh_fc2: ["u64", "tensor", "tensor", "tensor?", "tensor"],
  tamias_mlp_delta_fc1: ["u64", "tensor", "tensor", "tensor?", "i32", "tensor", "tensor", "tensor", "tensor"],
  tamias_mlp_delta_fc2: ["u64", "tensor", "tensor", "tensor", "tensor", "tensor"],
} as const satisfies Record<string, readonly ArgumentType[]>;

export type SymbolName = keyof typeof symbols;

/** enum tamias_status */
export const Status = {
  ok: 0,
  invalidArgument: 1,
  outOfMemory: 2,
  io: 3,
  unsupported: 4,
  workspace: 5,
  device: 6,
  notReady: 7,
} as const;
