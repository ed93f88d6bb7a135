/**
 * A process that owns an opened model: native code that crashes takes this process with it, not the program.
 * `openInProcess` is its other end.
 */
import { open } from "../src/pipeline/open.ts";
import { serveChannel } from "./serve-channel.ts";

serveChannel(open);
