import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeviceTensor } from "../../../ffi/index.ts";
import type { SymbolName } from "../../../ffi/symbols.ts";
import { Descriptor } from "./descriptor.ts";
import type { RawArgument } from "./raw-library.ts";
import type { World } from "./world.ts";

/** A call that succeeds, and for its plain numbers and texts, by name, values that make it fail. */
export interface ValidCall {
  readonly args: readonly RawArgument[];
  readonly wrong: Readonly<Record<string, readonly RawArgument[]>>;
}

const activation = [-1, 5, 1000, -(2 ** 31)];
const group = [0, -1, -(2n ** 63n)];
const float = [NaN];
const epsilon = [NaN, -1, Infinity];

/** One valid call of every function. Each maker gives a fresh one, for some calls use up what they are given. */
export function validCalls(world: World): Record<SymbolName, () => ValidCall> {
  const { device, stream } = world;
  const f32 = (...shape: number[]) => world.tensor(shape);
  const call = (
    args: readonly (RawArgument | DeviceTensor)[],
    wrong: ValidCall["wrong"] = {},
  ): ValidCall => ({
    args: args.map((value) => (value instanceof DeviceTensor ? new Descriptor(value.descriptor) : value)),
    wrong,
  });
  const op = (args: readonly (RawArgument | DeviceTensor)[], wrong?: ValidCall["wrong"]) =>
    call([stream.handle, ...args], wrong);
  const out8 = () => new Uint8Array(8);
  const mask = (batch: number, lists: number, groups: number, capacity: number) => [
    world.tensor(
      [batch, lists, groups, capacity],
      "i32",
      Array.from({ length: batch * lists * groups * capacity }, (_, at) => at % capacity),
    ),
    world.tensor(
      [batch, lists, groups],
      "i32",
      Array.from({ length: batch * lists * groups }, () => capacity),
    ),
  ];
  const qkv = () => [f32(1, 2, 10, 8), f32(1, 2, 12, 8), f32(1, 2, 12, 8)];
  const selected = () => [
    world.tensor([12], "u8", Array(12).fill(0)),
    world.tensor([2], "u8", [0, 0]),
    ...mask(1, 2, 2, 5),
  ];
  const folder = mkdtempSync(join(tmpdir(), "tamias-abuse-"));
  const path = (name: string) => new TextEncoder().encode(`${name}\0`);
  const file = join(folder, "values.bin");
  writeFileSync(file, new Uint8Array(100));
  // Opening a pipe that nobody writes to must not wait.
  const pipe = join(folder, "pipe");
  Bun.spawnSync(["mkfifo", pipe]);

  return {
    tamias_abi_version: () => call([]),
    tamias_last_error: () => call([new Uint8Array(64), 64]),
    tamias_device_count: () => call([new Uint8Array(4)]),
    tamias_device_open: () =>
      call([0, 1, out8()], { index: [-1, 1000, 2 ** 31 - 1], threads: [-1, 2 ** 31 - 1, -(2 ** 31)] }),
    tamias_device_close: () => call([device.handle]),
    tamias_device_info_get: () => {
      const info = new Uint8Array(184);
      new DataView(info.buffer).setUint32(0, info.length, true);
      return call([device.handle, info]);
    },
    tamias_memory_alloc: () =>
      call([device.handle, 64, 0, out8()], {
        bytes: [0, 2n ** 63n, 2n ** 64n - 1n, 2n ** 50n],
        place: [-1, 2, 2 ** 31 - 1],
      }),
    tamias_memory_free: () =>
      call([device.handle, device.allocate(64).address], {
        address: [0, 1, ...world.foreignAddresses, 2n ** 64n - 1n, device.allocate(64).address + 8],
      }),
    tamias_memory_write: () => {
      const { address } = device.allocate(100);
      return call([stream.handle, address, new Uint8Array(200), 100], {
        address: [0, 1, ...world.foreignAddresses, 2n ** 64n - 1n, address + 1],
        bytes: [101, 200],
      });
    },
    tamias_memory_read: () => {
      const address = device.allocate(100).address;
      return call([stream.handle, new Uint8Array(200), address, 100], {
        address: [0, 1, ...world.foreignAddresses, 2n ** 64n - 1n, address + 1],
        bytes: [101, 200],
      });
    },
    tamias_stream_create: () =>
      call([device.handle, 256, out8()], { workspace_bytes: [2n ** 63n, 2n ** 64n - 1n, 2n ** 50n] }),
    tamias_stream_destroy: () => call([device.createStream().handle]),
    tamias_stream_synchronize: () => call([stream.handle]),
    tamias_stream_reserve: () =>
      call([stream.handle, 4096], { bytes: [2n ** 63n, 2n ** 64n - 1n, 2n ** 50n] }),
    tamias_stream_workspace_needed: () => call([stream.handle, out8()]),
    tamias_event_create: () => call([device.handle, out8()]),
    tamias_event_destroy: () => call([device.createEvent().handle]),
    tamias_event_record: () => call([world.event.handle, stream.handle]),
    tamias_event_wait: () => call([world.event.handle, stream.handle]),
    tamias_event_query: () => call([device.createEvent().handle]),
    tamias_event_synchronize: () => call([world.event.handle]),
    tamias_event_elapsed: () => call([world.event.handle, world.event.handle, out8()]),

    tamias_tensor_load: () =>
      op([path(file), 4, 0, f32(4, 6)], {
        path: [
          path(folder),
          path(join(folder, "missing")),
          path(""),
          path("/proc/self/mem"),
          path(pipe),
          path("/dev/zero"),
          path("x".repeat(5000)),
        ],
        offset: [5, 100, 101, 2n ** 63n, 2n ** 64n - 1n],
        file_dtype: [-1, 8, 2 ** 31 - 1],
      }),
    tamias_scale_rows: () => op([f32(4, 6), f32(4)]),
    tamias_copy: () => op([f32(4, 6, 2), world.tensor([4, 6, 2], "bf16")]),
    tamias_fill: () => op([1.5, f32(4, 6)]),
    tamias_gather_rows: () => op([f32(5, 6), world.tensor([7], "i32", [0, 1, 2, 3, 4, 0, 1]), f32(7, 6)]),
    tamias_change_norms: () => op([f32(4, 6, 2), world.tensor([4, 6, 2], "bf16"), f32(2)]),

    tamias_activate: () => op([1, f32(4, 6), f32(4, 6)], { activation }),
    tamias_combine: () => op([1, f32(4, 6), 2, f32(4, 6), f32(4, 6)]),
    tamias_multiply: () => op([f32(4, 6), f32(4, 6), f32(4, 6)]),
    tamias_gate_residual: () => op([f32(2, 4, 6), f32(2, 6), f32(2, 4, 6), f32(2, 4, 6)]),

    tamias_linear: () =>
      op([f32(4, 6), f32(5, 6), f32(5), 0, 0, f32(4, 5)], { activation, accumulate: [2, -1] }),
    tamias_layer_norm: () =>
      op([f32(2, 4, 6), f32(6), f32(6), f32(2, 6), f32(2, 6), 1e-6, f32(2, 4, 6)], { epsilon }),
    tamias_rms_norm: () => op([f32(4, 6), f32(6), 1e-6, f32(4, 6)], { epsilon }),
    tamias_norm_rope: () =>
      op([f32(1, 2, 4, 8), f32(8), 1e-6, f32(4, 4), f32(4, 4), 0, f32(1, 2, 4, 8)], {
        epsilon,
        rope_layout: [-1, 2, 2 ** 31 - 1],
      }),
    tamias_attention: () =>
      op([...qkv(), f32(2, 10, 12), 0.3, 0, f32(1, 2, 10, 8), f32(1, 2, 10)], {
        scale: float,
        causal: [2, -1],
      }),

    tamias_conv2d: () =>
      op([f32(1, 3, 5, 6), f32(4, 3, 3, 3), f32(4), 1, 1, 1, 1, 1, f32(1, 4, 5, 6)], {
        stride: [0, -1, -(2 ** 31)],
        pad_top: [-1, -(2 ** 31), 2 ** 31 - 1],
        pad_bottom: [-1, -(2 ** 31), 2 ** 31 - 1],
        pad_left: [-1, -(2 ** 31), 2 ** 31 - 1],
        pad_right: [-1, -(2 ** 31), 2 ** 31 - 1],
      }),
    tamias_group_norm: () =>
      op([f32(1, 6, 4, 4), 3, f32(6), f32(6), 1e-6, 1, f32(1, 6, 4, 4)], {
        groups: [0, -1, 4, 7, 2 ** 31 - 1],
        epsilon,
        activation,
      }),
    tamias_upsample_nearest: () =>
      op([f32(1, 2, 3, 4), 2, f32(1, 2, 6, 8)], { factor: [0, -1, 2 ** 31 - 1, -(2 ** 31)] }),
    tamias_image_rgb8: () => op([f32(3, 4, 5), world.tensor([4, 5, 3], "u8")]),

    tamias_select_top_k: () => op([f32(1, 2, 2, 12), 3, ...selected()], { k: [-1, -(2n ** 63n)] }),
    tamias_select_mass: () =>
      op([f32(1, 2, 2, 12), 0.5, 1, 5, ...selected()], {
        mass: [NaN, -0.1, 1.1, Infinity],
        minimum: [-1, -(2n ** 63n)],
        maximum: [-1, -(2n ** 63n)],
      }),
    tamias_select_threshold: () =>
      op([f32(1, 2, 2, 12), 0.5, 5, ...selected()], { z: float, maximum: [-1, -(2n ** 63n)] }),
    tamias_mask_pack: () =>
      op([...mask(1, 2, 3, 5), 12, world.tensor([1, 2, 3, 5], "u8")], {
        columns: [-1, -(2n ** 63n), 2n ** 31n],
      }),
    tamias_mask_unpack: () =>
      op([world.tensor([1, 2, 3, 5], "u8", Array(30).fill(0)), mask(1, 2, 3, 5)[1]!, mask(1, 2, 3, 5)[0]!]),
    tamias_block_means: () => op([f32(1, 10, 6), 4, f32(1, 3, 6)], { group }),
    tamias_neuron_scores: () => op([f32(1, 3, 6), f32(1, 3, 6), f32(6), f32(1, 3, 6)]),
    tamias_update_chosen: () => op([f32(1, 3, 6), ...mask(1, 1, 3, 4), f32(1, 3, 6)]),
    tamias_row_norms: () => op([f32(4, 6), f32(4)]),

    tamias_attention_column_sums: () =>
      op([...qkv(), 0.3, 4, f32(1, 2, 10), f32(1, 2, 10, 8), f32(1, 2, 10), f32(1, 2, 3, 12)], {
        scale: float,
        group,
      }),
    tamias_attention_columns: () =>
      op(
        [
          ...qkv(),
          0.3,
          4,
          ...mask(1, 2, 3, 5),
          2,
          1,
          f32(1, 2, 10, 8),
          f32(1, 2, 10),
          f32(1, 2, 10, 8),
          f32(1, 2, 10),
        ],
        { scale: float, group, rule: [-1, 3, 2 ** 31 - 1] },
      ),
    tamias_attention_cache: () =>
      op(
        [
          2,
          1,
          f32(1, 2, 10, 8),
          f32(1, 2, 10),
          f32(1, 2, 10, 8),
          f32(1, 2, 10),
          f32(1, 2, 10, 8),
          f32(1, 2, 10),
        ],
        { rule: [-1, 0, 3, 2 ** 31 - 1] },
      ),

    tamias_mlp_refresh_fc1: () =>
      op([f32(1, 10, 6), f32(7, 6), f32(7), 2, f32(1, 3, 7, 4), f32(1, 3, 7)], { activation }),
    tamias_mlp_refresh_fc2: () => op([f32(1, 3, 7, 4), f32(7, 5), f32(5), f32(1, 10, 5)]),
    tamias_mlp_delta_fc1: () =>
      op([f32(1, 10, 6), f32(7, 6), f32(7), 2, ...mask(1, 1, 3, 4), f32(1, 3, 7, 4), f32(1, 3, 4, 4)], {
        activation,
      }),
    tamias_mlp_delta_fc2: () => op([f32(1, 3, 4, 4), ...mask(1, 1, 3, 4), f32(7, 5), f32(1, 10, 5)]),
  };
}
