import { CallRing, type Command } from "./call-ring.ts";
import { Device, Stream } from "./device.ts";
import { Event } from "./event.ts";
import type { StreamAnswer, StreamOrder } from "./remote-stream.ts";
import type { NativeArgument } from "./runtime/adapter.ts";
import { Status, type SymbolName } from "./symbols.ts";

/** Makes the calls of a `RemoteStream` until it closes the stream. This thread does nothing else meanwhile. */
export async function serveStream(
  { buffer, backend, device: handle }: StreamOrder,
  tell: (answer: StreamAnswer) => void,
): Promise<void> {
  using device = await Device.attach(backend, handle);
  using stream = new ServedStream(device, device.createStreamHandle());
  const ring = new CallRing(buffer);
  tell({ type: "ready", stream: stream.handle });
  const call = (name: SymbolName, native: NativeArgument[]) => stream.call(name, native);
  const run = (command: Command, argument: bigint) => {
    switch (command) {
      case "close":
        return stream[Symbol.dispose]();
      case "record spans":
        return stream.recordSpans();
      case "stop spans":
        return stream.stopSpans();
      case "take spans":
        return tell({ type: "spans", spans: stream.takeSpansNow(new Event(device, argument)) });
    }
  };
  while (ring.serve(call, run));
}

class ServedStream extends Stream {
  call(name: SymbolName, native: NativeArgument[]): void {
    const { library } = this.device;
    if (native[0] === this.handle) return this.issue(name, () => library.invoke(name, native));
    // Events, which take the stream second, are no work of their own.
    const status = library.invoke(name, native);
    if (status !== Status.ok) throw library.error(name, status);
  }
}
