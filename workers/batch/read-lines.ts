import { open } from "node:fs/promises";

const NEWLINE = 10;
const BUFFER_BYTES = 2 ** 20;

/** One line of a file; `text` is undefined where the line is longer than allowed or not UTF-8. */
export interface Line {
  /** 1-based. */
  readonly number: number;
  readonly text: string | undefined;
  readonly fault?: "too long" | "not UTF-8";
}

/** The lines of a file, read piece by piece; of a line that is too long nothing is kept. */
export async function* readLines(path: string, maxBytes: number): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let pieces: Uint8Array[] = [];
  let length = 0;
  let number = 1;
  const take = (): Line => {
    const line = { number: number++, ...decode(decoder, pieces, length, maxBytes) };
    pieces = [];
    length = 0;
    return line;
  };
  await using file = await open(path);
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (;;) {
    const { bytesRead } = await file.read(buffer);
    if (bytesRead === 0) break;
    const chunk = buffer.subarray(0, bytesRead);
    for (let start = 0; ;) {
      const end = chunk.indexOf(NEWLINE, start);
      const piece = chunk.subarray(start, end < 0 ? undefined : end);
      length += piece.length;
      if (length <= maxBytes) pieces.push(piece.slice());
      else pieces = [];
      if (end < 0) break;
      yield take();
      start = end + 1;
    }
  }
  if (length > 0) yield take();
}

function decode(
  decoder: TextDecoder,
  pieces: readonly Uint8Array[],
  length: number,
  maxBytes: number,
): Omit<Line, "number"> {
  if (length > maxBytes) return { text: undefined, fault: "too long" };
  try {
    return { text: decoder.decode(Buffer.concat(pieces)) };
  } catch {
    return { text: undefined, fault: "not UTF-8" };
  }
}
