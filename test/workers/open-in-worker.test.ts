import { expect, test } from "bun:test";
import type { ResultEvent } from "../../src/pipeline/events.ts";
import { open } from "../../src/pipeline/open.ts";
import { openInWorker } from "../../workers/open-in-worker.ts";

const request = {
  prompt: "3d render of a fox on a sky blue background",
  width: 64,
  height: 64,
  steps: 3,
  seed: 7,
};
/** What a promise is rejected with. (`expect().rejects` does not let a Worker's messages through while it waits.) */
const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

const model = { model: "acorn-image", device: "cpu", threads: 2 } as const;

test("a worker makes the picture that the same request makes in process", async () => {
  await using here = await open(model);
  await using there = await openInWorker(model);
  const ours = (await Array.fromAsync(here.generate(request))).at(-1) as ResultEvent;
  const events = await Array.fromAsync(there.generate({ ...request, previewEvery: 1 }));
  expect(events.map(({ type }) => type)).toEqual([
    "start",
    "step",
    "preview",
    "step",
    "preview",
    "step",
    "result",
  ]);
  expect((events.at(-1) as ResultEvent).rgb).toEqual(ours.rgb);
});

test("a signal stops it within one step, leaving the loop frees it, and it goes on", async () => {
  await using tamias = await openInWorker(model);
  const controller = new AbortController();
  let steps = 0;
  const run = async () => {
    for await (const event of tamias.generate({ ...request, steps: 200, signal: controller.signal }))
      if (event.type === "step" && ++steps === 2) controller.abort();
  };
  expect(await rejection(run())).toMatchObject({ code: "aborted" });
  for await (const event of tamias.generate({ ...request, steps: 200 })) if (event.type === "step") break;
  expect((await Array.fromAsync(tamias.generate(request))).at(-1)?.type).toBe("result");
});

test("an abandoned iterator ends when another request has waited for it; closing does not wait", async () => {
  const tamias = await openInWorker({ ...model, deadlines: { untaken: 0.3 } });
  const abandoned = tamias.generate({ ...request, steps: 200 });
  await abandoned.next();
  expect((await Array.fromAsync(tamias.generate(request))).at(-1)?.type).toBe("result");
  expect(await rejection(abandoned.next())).toMatchObject({
    code: "aborted",
    message: expect.stringContaining("not taken"),
  });
  const another = tamias.generate({ ...request, steps: 200 });
  await another.next();
  const waiting = rejection(Array.fromAsync(tamias.generate(request)));
  await tamias.close();
  expect(await rejection(another.next())).toMatchObject({ code: "aborted" });
  expect(await waiting).toMatchObject({ code: "disposed" });
});

test("errors come through as they are, and a closed worker says so", async () => {
  expect(await rejection(openInWorker({ model: "no-such-model" }))).toMatchObject({
    code: "not_found",
    name: "TamiasError",
  });
  const tamias = await openInWorker(model);
  expect(await rejection(Array.fromAsync(tamias.generate({ ...request, prompt: "" })))).toMatchObject({
    code: "bad_input",
  });
  await tamias.close();
  expect(await rejection(Array.fromAsync(tamias.generate(request)))).toMatchObject({ code: "disposed" });
});
