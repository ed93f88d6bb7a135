import { readMessages } from "../../src/client/index.js";
import type { Message } from "../../src/client/index.js";
import { makeService, type RoutesOptions, type TamiasService } from "../../src/server/routes.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";

export interface TestServer extends TamiasService {
  readonly engine: FakeEngine;
  post(
    path: string,
    body: unknown,
    headers?: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Response>;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
}

/** The routes on an engine that draws nothing, called without a network. */
export function testServer(
  settings: RoutesOptions["settings"] = {},
  options: RoutesOptions = {},
): TestServer {
  const engine = fakeEngine();
  const service = makeService(engine, { ...options, settings });
  return {
    ...service,
    engine,
    post: async (path, body, headers = {}, signal) =>
      service.app.request(path, {
        method: "POST",
        body: typeof body === "string" ? body : JSON.stringify(body),
        headers: { "content-type": "application/json", ...headers },
        ...(signal ? { signal } : {}),
      }),
    get: async (path, headers = {}) => service.app.request(path, { headers }),
  };
}

/** All messages of a response of frames. */
export async function messagesOf(response: Response): Promise<Message[]> {
  return await Array.fromAsync(readMessages(response.body!));
}

export interface ServerSentEvent {
  readonly id?: string;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** All server-sent events of a text; comments are left out. */
export function parseEvents(text: string): ServerSentEvent[] {
  return text
    .split("\n\n")
    .map((block) => Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2))))
    .filter((fields) => fields.event !== undefined)
    .map(({ id, event, data }) => ({ id, event, data: JSON.parse(data) }));
}

/** The JSON of a response, loosely typed: tests say what they expect of it. */
export async function bodyOf(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

/** Waits until something is so; half a minute is long enough on the busiest machine. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const late = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > late) throw new Error("It did not happen.");
    await Bun.sleep(2);
  }
}
