import { expect, test } from "bun:test";
import { imagePositionIds, packLatents, unpackLatents } from "../../../src/models/flux/latents.ts";
import { download, upload, withOps } from "../with-ops.ts";

test("packing shows each token one patch of all channels, and unpacking undoes it", () =>
  withOps((ops) => {
    for (const [batch, channels, rows, columns] of [
      [1, 1, 1, 1],
      [2, 3, 4, 5],
      [1, 16, 7, 2],
    ] as const) {
      const [height, width] = [2 * rows, 2 * columns];
      const values = Float32Array.from({ length: batch * channels * height * width }, (_, at) => at);
      using latents = upload(ops, [batch, channels, height, width], values);
      using tokens = ops.memory.temporary([batch, rows * columns, channels * 4], "f32");
      packLatents(ops, latents, tokens);
      const packed = download(ops, tokens);
      let at = 0;
      for (let item = 0; item < batch; item++)
        for (let token = 0; token < rows * columns; token++)
          for (let channel = 0; channel < channels; channel++)
            for (let corner = 0; corner < 4; corner++) {
              const y = 2 * Math.floor(token / columns) + (corner >> 1);
              const x = 2 * (token % columns) + (corner & 1);
              expect(packed[at++]).toBe(values[((item * channels + channel) * height + y) * width + x]!);
            }
      using again = ops.memory.temporary(latents.shape, "f32");
      unpackLatents(ops, tokens, again);
      expect(download(ops, again)).toEqual(values);
    }
  }));

test("latents of an odd size have no tokens", () =>
  withOps((ops) => {
    using latents = ops.memory.temporary([1, 4, 3, 4], "f32");
    using tokens = ops.memory.temporary([1, 2, 16], "f32");
    expect(() => packLatents(ops, latents, tokens)).toThrow();
  }));

test("position ids are (0, row, column) in raster order", () => {
  expect([...imagePositionIds(2, 3)]).toEqual([0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 1, 0, 1, 2]);
});
