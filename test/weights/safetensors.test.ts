import { describe, expect, test } from "bun:test";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { TamiasError } from "../../ffi/errors.ts";
import { readTensorBytes, readTensorFloat32, readTensorInt32 } from "../../src/weights/read-tensor.ts";
import { readSafetensors } from "../../src/weights/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../src/weights/write-safetensors.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

/** A file of one header and some data bytes, whatever the header says. */
function fileOf(header: unknown, dataBytes = 0, claimedHeaderBytes?: bigint): Uint8Array {
  const json = typeof header === "string" ? header : JSON.stringify(header);
  const text = new TextEncoder().encode(json);
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, claimedHeaderBytes ?? BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

async function errorOf(bytes: Uint8Array): Promise<TamiasError> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "a.safetensors");
  await Bun.write(path, bytes);
  const error: unknown = await readSafetensors(path).then(
    () => "no error",
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TamiasError);
  return error as TamiasError;
}

const float = (begin: number, end: number, shape = [(end - begin) / 4]) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

describe("a sound file", () => {
  const tensors: Record<string, TensorData> = {
    "block.weight": { dtype: "F32", shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, 1e-3, 6) },
    half: { dtype: "F16", shape: [3], data: new Float16Array([1, -0.5, 65504]) },
    brain: { dtype: "BF16", shape: [2, 1], data: Uint16Array.of(0x3f80, 0xc040) },
    ids: { dtype: "I32", shape: [2], data: Int32Array.of(-7, 49_407) },
    long: { dtype: "I64", shape: [1, 2], data: BigInt64Array.of(-1n, 2n ** 31n - 1n) },
    byte: { dtype: "I8", shape: [3], data: Int8Array.of(-128, 0, 127) },
    eight: { dtype: "F8_E4M3", shape: [4], data: Uint8Array.of(0x38, 0xb8, 0x7e, 0x01) },
    double: { dtype: "F64", shape: [], data: Float64Array.of(0.25) },
    empty: { dtype: "F32", shape: [0, 4], data: new Float32Array(0) },
    flag: { dtype: "BOOL", shape: [1], data: Uint8Array.of(1) },
    __proto: { dtype: "U8", shape: [1], data: Uint8Array.of(9) },
  };

  test("comes back as it was written", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    await writeSafetensors(path, tensors, { prompt: 'a "fox": red' });
    const file = await readSafetensors(path);
    expect(file.metadata).toEqual({ prompt: 'a "fox": red' });
    expect([...file.tensors.keys()].toSorted()).toEqual(Object.keys(tensors).toSorted());
    for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
      const entry = file.tensors.get(name)!;
      expect(entry).toMatchObject({ name, dtype, shape, path, byteLength: data.byteLength });
      expect(await readTensorBytes(entry)).toEqual(
        new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      );
    }
    const float32 = async (name: string) => [...(await readTensorFloat32(file.tensors.get(name)!))];
    expect(await float32("block.weight")).toEqual([...Float32Array.of(1, -2, 3.5, 0, 1e-3, 6)]);
    expect(await float32("half")).toEqual([1, -0.5, 65504]);
    expect(await float32("brain")).toEqual([1, -3]);
    expect(await float32("ids")).toEqual([-7, 49_407]);
    expect(await float32("byte")).toEqual([-128, 0, 127]);
    expect(await float32("eight")).toEqual([1, -1, 448, 2 ** -9]);
    expect(await float32("double")).toEqual([0.25]);
    expect(await float32("empty")).toEqual([]);
    expect([...(await readTensorInt32(file.tensors.get("ids")!))]).toEqual([-7, 49_407]);
    expect([...(await readTensorInt32(file.tensors.get("long")!))]).toEqual([-1, 2 ** 31 - 1]);
    await expect(readTensorInt32(file.tensors.get("half")!)).rejects.toMatchObject({ code: "bad_weights" });
  });

  test("aligns every tensor to its element size", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    await writeSafetensors(path, tensors);
    const bytes = { F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2 } as Record<string, number>;
    for (const { dtype, byteOffset } of (await readSafetensors(path)).tensors.values()) {
      expect(byteOffset % (bytes[dtype] ?? 1)).toBe(0);
    }
  });

  test("may name its tensors in any order, and hold none", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    await Bun.write(path, fileOf({ b: float(8, 16), a: float(0, 8) }, 16));
    expect((await readSafetensors(path)).tensors.get("b")?.byteLength).toBe(8);
    await Bun.write(path, fileOf("{}  "));
    expect((await readSafetensors(path)).tensors.size).toBe(0);
  });
});

describe("a lie in the header", () => {
  test.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(0), /only 0 bytes/],
    ["half a length field", new Uint8Array(5), /only 5 bytes/],
    ["a header longer than the file", fileOf({ a: float(0, 4) }, 4, 4000n), /claims 4000 bytes, but only/],
    ["a header beyond any file", fileOf({}, 4, 2n ** 64n - 1n), /claims 18446744073709551615 bytes/],
    ["a header above 100 MB", fileOf({}, 4, 100_000_001n), /more than the 100000000 allowed/],
    ["no JSON", fileOf("what is this"), /not valid JSON/],
    ["a header of no bytes", fileOf(""), /not valid JSON/],
    ["an array", fileOf("[]"), /not a JSON object/],
    ["broken UTF-8", Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe), /not valid JSON/],
    ["overlapping tensors", fileOf({ a: float(0, 8), b: float(4, 12) }, 12), /"b" overlaps/],
    ["equal places", fileOf({ a: float(0, 8), b: float(0, 8) }, 8), /overlaps/],
    ["a hole", fileOf({ a: float(0, 4), b: float(8, 12) }, 12), /4 bytes before tensor "b"/],
    ["bytes at the end", fileOf({ a: float(0, 4) }, 9), /5 bytes at its end/],
    ["data that is cut off", fileOf({ a: float(0, 400) }, 399), /"a" reaches beyond the end/],
    ["an end before the begin", fileOf({ a: float(8, 4, [1]) }, 8), /"a" ends before it begins/],
    [
      "a size that is not the shape's",
      fileOf({ a: float(0, 8, [3]) }, 8),
      /takes 8 bytes, but F32 \[3\] needs 12/,
    ],
    ["an enormous shape", fileOf({ a: float(0, 8, [2 ** 40, 2 ** 40]) }, 8), /takes 8 bytes/],
    ["a negative extent", fileOf({ a: float(0, 4, [-1]) }, 4), /wrong entry in "shape.0"/],
    ["a fractional extent", fileOf({ a: float(0, 4, [0.5]) }, 4), /wrong entry in "shape.0"/],
    ["negative offsets", fileOf({ a: float(-4, 0, [1]) }, 4), /wrong entry in "data_offsets.0"/],
    ["one offset", fileOf({ a: { dtype: "F32", shape: [], data_offsets: [0] } }, 4), /"data_offsets/],
    ["no type", fileOf({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /wrong entry in "dtype"/],
    ["an unknown type", fileOf({ a: { ...float(0, 4), dtype: "Q4" } }, 4), /unknown type "Q4"/],
    ["a type from the prototype", fileOf({ a: { ...float(0, 4), dtype: "toString" } }, 4), /unknown type/],
    ["an entry that is a text", fileOf({ a: "F32" }), /"a" has a wrong entry/],
    ["metadata that is no text", fileOf({ __metadata__: { a: 1 } }), /__metadata__/],
    [
      "a name twice",
      fileOf(`{"a":${JSON.stringify(float(0, 4))},"a":${JSON.stringify(float(0, 4))}}`, 4),
      /names something twice/,
    ],
    [
      "a field twice",
      fileOf('{"a":{"dtype":"I8","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
      /twice/,
    ],
  ])("%s: one clear sentence", async (_, bytes, message) => {
    const error = await errorOf(bytes);
    expect(error.code).toBe("bad_weights");
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^\S+a\.safetensors .*\.$/);
  });
});

describe("damage by chance", () => {
  /** Numbers in [0, 1) that are the same on every run (mulberry32). */
  function randomNumbers(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  async function soundFile(path: string): Promise<Uint8Array> {
    await writeSafetensors(path, {
      "a.weight": { dtype: "F32", shape: [4, 3], data: new Float32Array(12) },
      "a.bias": { dtype: "BF16", shape: [5], data: new Uint16Array(5) },
      ids: { dtype: "I64", shape: [2], data: new BigInt64Array(2) },
    });
    return await Bun.file(path).bytes();
  }

  /** Whatever the file says, its tensors lie inside it and beside each other. */
  async function readsSoundlyOrRefuses(path: string, fileBytes: number): Promise<void> {
    try {
      const entries = [...(await readSafetensors(path)).tensors.values()];
      const inOrder = entries.toSorted((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
      let end = 8;
      for (const { byteOffset, byteLength } of inOrder) {
        expect(byteOffset).toBeGreaterThanOrEqual(end);
        end = byteOffset + byteLength;
      }
      expect(end).toBeLessThanOrEqual(fileBytes);
    } catch (error) {
      expect(error).toBeInstanceOf(TamiasError);
      expect((error as TamiasError).code).toBe("bad_weights");
    }
  }

  test("every truncation is refused", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    const bytes = await soundFile(path);
    for (let length = 0; length < bytes.length; length++) {
      await Bun.write(path, bytes.subarray(0, length));
      await expect(readSafetensors(path)).rejects.toMatchObject({ code: "bad_weights" });
    }
  });

  test("changed bytes never lead outside the file", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    const bytes = await soundFile(path);
    const headerEnd = bytes.length - (48 + 10 + 16);
    const random = randomNumbers(7);
    for (let round = 0; round < 1500; round++) {
      const damaged = bytes.slice();
      const changes = 1 + Math.floor(random() * 4);
      for (let change = 0; change < changes; change++) {
        const at = Math.floor(random() * headerEnd);
        // Digits make headers that still parse but lie.
        damaged[at] = random() < 0.5 ? 0x30 + Math.floor(random() * 10) : Math.floor(random() * 256);
      }
      await Bun.write(path, damaged);
      await readsSoundlyOrRefuses(path, damaged.length);
    }
  });

  test("random bytes are refused", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    const random = randomNumbers(11);
    for (let round = 0; round < 300; round++) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 200) }, () => random() * 256);
      // Half of them with a plausible length field.
      if (bytes.length >= 8 && round % 2) bytes.fill(0, 1, 8);
      await Bun.write(path, bytes);
      await expect(readSafetensors(path)).rejects.toMatchObject({ code: "bad_weights" });
    }
  });
});

describe("a file that cannot be read", () => {
  test("missing, below a file, or a folder", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a");
    await expect(readSafetensors(path)).rejects.toMatchObject({ code: "not_found" });
    await Bun.write(path, "");
    await expect(readSafetensors(join(path, "b"))).rejects.toMatchObject({ code: "not_found" });
    await expect(readSafetensors(folder.path)).rejects.toMatchObject({ code: "io" });
  });

  test.skipIf(process.getuid?.() === 0)("without permission", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a");
    await Bun.write(path, fileOf({}));
    await chmod(path, 0);
    await expect(readSafetensors(path)).rejects.toMatchObject({ code: "io" });
  });

  test("shortened after its header was read", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    await writeSafetensors(path, { a: { dtype: "F32", shape: [64], data: new Float32Array(64) } });
    const entry = (await readSafetensors(path)).tensors.get("a")!;
    await Bun.write(path, (await Bun.file(path).bytes()).subarray(0, -8));
    await expect(readTensorFloat32(entry)).rejects.toMatchObject({ code: "io" });
  });
});

describe("writing", () => {
  test("refuses data that does not fit its shape", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a.safetensors");
    const write = writeSafetensors(path, { a: { dtype: "F32", shape: [2], data: new Uint8Array(7) } });
    await expect(write).rejects.toMatchObject({ code: "bad_input" });
    expect(await Bun.file(path).exists()).toBe(false);
  });

  test("into a missing folder is an error", async () => {
    await using folder = await temporaryFolder();
    const write = writeSafetensors(join(folder.path, "missing", "a.safetensors"), {});
    await expect(write).rejects.toMatchObject({ code: "io" });
  });
});
