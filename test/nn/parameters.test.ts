import { expect, test } from "bun:test";
import { join } from "node:path";
import { z } from "zod";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import {
  checkpointParameters,
  checkpointSource,
  hostValues,
  loadNetwork,
  Parameters,
} from "../../src/nn/index.ts";
import { Checkpoint } from "../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { readSafetensors } from "../../src/weights/safetensors.ts";
import { writeSafetensors } from "../../src/weights/write-safetensors.ts";
import { download, tinyFlux, withOps } from "../models/with-ops.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const vae = await openCheckpoint(join(tinyFlux, "vae"));

/** The tiny autoencoder with one weight's one value replaced. */
async function damagedVae(folder: string, name: string, value: number): Promise<Checkpoint> {
  const { shape } = vae.get(name);
  const data = new Float32Array(shape.reduce((size, side) => size * side, 1)).fill(0.5);
  data[Math.floor(data.length / 2)] = value;
  const path = join(folder, `${value}.safetensors`);
  await writeSafetensors(path, { [name]: { dtype: "F32", shape, data } });
  const { tensors } = await readSafetensors(path);
  const all = vae.names().map((each) => [each, tensors.get(each) ?? vae.get(each)] as const);
  return new Checkpoint(vae.folder, vae.config, new Map(all));
}

test.each([
  ["decoder.conv_in.weight", Number.NaN],
  ["decoder.conv_norm_out.bias", Number.POSITIVE_INFINITY],
  ["encoder.mid_block.attentions.0.to_q.weight", Number.NEGATIVE_INFINITY],
])("weights with %s of %d are refused while loading, by name", async (name, value) => {
  await using folder = await temporaryFolder();
  const damaged = await damagedVae(folder.path, name, value);
  const sound = await damagedVae(folder.path, name, 1e6);
  await withOps((ops) => {
    expect(() => AutoencoderKL.load(ops, damaged)).toThrow(
      expect.objectContaining({ code: "bad_weights", message: expect.stringContaining(name) }),
    );
    using model = AutoencoderKL.load(ops, sound);
    expect(model.parameterBytes).toBeGreaterThan(0);
  });
});

test("columns of a weight can be kept as rows, each held once", () =>
  withOps((ops) => {
    const name = "encoder.mid_block.attentions.0.to_q.weight";
    using straight = new Parameters(ops, checkpointParameters(vae));
    using cut = new Parameters(ops, checkpointParameters(vae));
    const matrix = straight.tensor(name, [16, 16]);
    const [left, right] = cut.weightColumns(name, 16, [{ columns: 5 }, { columns: 11, isTransposed: true }]);
    expect(cut.bytes).toBe(straight.bytes);
    expect(right!.permute(1, 0).isContiguous).toBe(true);
    const values = download(ops, matrix);
    const column = (from: number, to: number) => values.filter((_, at) => at % 16 >= from && at % 16 < to);
    expect(hostValues(ops, left!)).toEqual(column(0, 5));
    expect(hostValues(ops, right!)).toEqual(column(5, 16));
  }));

test("a network whose building fails leaves no parameters behind", () =>
  withOps((ops) => {
    const source = checkpointSource(vae);
    const before = ops.stream.device.info().bytesAllocated;
    expect(() =>
      loadNetwork(ops, source, z.looseObject({}), (parameters) => {
        parameters.tensor("decoder.conv_in.bias", [16]);
        parameters.tensor("decoder.conv_in.bias", [17]);
      }),
    ).toThrow("this network needs [17]");
    expect(ops.stream.device.info().bytesAllocated).toBe(before);
  }));
