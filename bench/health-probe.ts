// A Worker that asks for /health twenty times a second, and tells how many milliseconds each answer took.
declare const self: Worker;

self.onmessage = async ({ data }: MessageEvent<{ url: string; milliseconds: number }>) => {
  const times: number[] = [];
  const until = performance.now() + data.milliseconds;
  while (performance.now() < until) {
    const began = performance.now();
    const response = await fetch(`${data.url}/health`);
    await response.text();
    times.push(performance.now() - began);
    await Bun.sleep(50);
  }
  self.postMessage(times);
};
