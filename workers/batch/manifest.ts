import { appendFile } from "node:fs/promises";
import { writeFileAtomically } from "../../src/media/atomic-write.ts";
import type { BatchRecord } from "./record.ts";

/** `manifest.jsonl`: written whole when a batch begins and ends, added to while it runs. */
export class Manifest {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  async write(records: readonly BatchRecord[]): Promise<void> {
    const lines = records.toSorted((a, b) => a.line - b.line).map(asLine);
    await writeFileAtomically(this.path, Buffer.from(lines.join("")));
  }

  async add(record: BatchRecord): Promise<void> {
    await appendFile(this.path, asLine(record));
  }
}

function asLine(record: BatchRecord): string {
  return `${JSON.stringify(record)}\n`;
}
