import { encodePng } from "../../../src/media/png.ts";

const small = encodePng({ width: 2, height: 2, rgb: new Uint8Array(12) });

/** A PNG whose head promises 60 000 x 60 000 pixels, and whose data unpacks to far more than it takes. */
function bomb(): Uint8Array {
  const bytes = Buffer.from(small);
  bytes.writeUInt32BE(60_000, 16);
  bytes.writeUInt32BE(60_000, 20);
  return Buffer.concat([bytes, Bun.deflateSync(new Uint8Array(4 << 20))]);
}

/** Files to upload: pictures, damaged ones, and none at all. */
export const uploads: Readonly<Record<string, Uint8Array>> = {
  sound: small,
  truncated: small.subarray(0, small.length - 10),
  bomb: bomb(),
  text: new TextEncoder().encode("this is no picture"),
  empty: new Uint8Array(0),
  archive: Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0),
};

/** A multipart body, optionally cut somewhere in its middle. */
export function multipart(file: Uint8Array, boundary: string, cut: number): Uint8Array {
  const whole = Buffer.concat([
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na fox\r\n`),
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n`,
    ),
    file,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
  return whole.subarray(0, Math.ceil(whole.length * cut));
}
