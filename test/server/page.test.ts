import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import axe from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";
import { listen, type Listening } from "../../src/server/listen.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";
import { until } from "./support.ts";

const executablePath = ["chromium", "chromium-browser", "google-chrome"]
  .map((name) => Bun.which(name))
  .find((path) => path !== null);
if (!executablePath)
  console.log("The web page's tests are skipped: no Chromium here (node scripts/setup.mjs --browser).");

describe.skipIf(!executablePath)("the page in Chromium", () => {
  let browser: Browser;
  let engine: FakeEngine;
  let server: Listening;
  const vocabulary = { concepts: ["fox", "owl"], colours: ["red"], styles: ["3d render of"] };

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
    engine = fakeEngine();
    server = listen(engine, { port: 0, vocabulary });
  });
  afterAll(async () => {
    await browser.close();
    await server.stop(0);
  });

  /** The page, loaded, with all that went wrong in it. */
  async function openPage(options: Parameters<Browser["newPage"]>[0] = {}, url = server.url) {
    const page = await browser.newPage(options);
    const troubles: string[] = [];
    page.on("pageerror", (error) => troubles.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") troubles.push(message.text());
    });
    page.on("request", (request) => {
      if (!/^(?:blob:|data:)/.test(request.url()) && !request.url().startsWith(url))
        troubles.push(request.url());
    });
    await page.goto(url);
    return { page, troubles };
  }

  const loaded = (page: Page) => page.locator("#policy option").first().waitFor({ state: "attached" });
  const finished = (page: Page) => page.locator(".save:not([hidden])").first().waitFor();
  const text = (page: Page, selector: string) => page.locator(selector).first().textContent();

  test("a picture is drawn by keyboard alone, and everything is told", async () => {
    const { page, troubles } = await openPage();
    await loaded(page);
    expect(await text(page, "#about")).toBe("acorn-image on Synthetic CPU");
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.className")).toBe("skip");
    await page.focus("#prompt");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("3d render of a fix");
    expect(await text(page, "#words")).toBe("This model never saw: fix.");
    await page.keyboard.press("Backspace");
    await page.keyboard.press("Backspace");
    await page.keyboard.type("ox");
    expect(await text(page, "#words")).toBe("");
    await page.keyboard.press("Control+Enter");
    await finished(page);
    expect(await text(page, ".view .title")).toBe("balanced");
    expect(await text(page, ".view .step")).toBe("20 / 20");
    expect(await text(page, ".view .density")).toMatch(/^\d+ %$/);
    expect(await page.getAttribute(".picture", "aria-label")).toBe(
      "The picture of 3d render of a fox, drawn at balanced",
    );
    expect(await text(page, "#status")).toMatch(/^Finished\. balanced: .* seconds at \d+ % density\.$/);
    const painted = "document.querySelector('.picture').getContext('2d').getImageData(0, 0, 64, 64).data[0]";
    expect(await page.evaluate(painted)).toBe((7 * 31) % 256);
    expect(troubles).toEqual([]);
    await page.close();
  });

  test("estimates show while it forms, columns can be looked at, and Escape stops it", async () => {
    const { page } = await openPage();
    await loaded(page);
    engine.hold();
    const before = engine.counts.ended;
    await page.click("#draw");
    for (let step = 0; step < 4; step++) await engine.step();
    await page.locator(".view .step", { hasText: "4 / 20" }).waitFor();
    expect(await page.getAttribute(".picture", "aria-label")).toBe("An estimate of the picture after step 1");
    await page.check(".show-columns");
    expect(await text(page, ".columns-words")).toStartWith("Bright: attention keys");
    expect(await page.isVisible(".columns")).toBe(true);
    await page.locator(".step-slider").fill("0");
    expect(await text(page, ".step-words")).toStartWith("step 1: dense, 100 %");
    expect(await text(page, ".columns-words")).toBe("This step computed everything.");
    await page.keyboard.press("Escape");
    await page.locator(".state", { hasText: "stopped" }).waitFor();
    await until(() => engine.counts.ended > before);
    expect(engine.counts.ended).toBe(before + 1);
    engine.free();
    await page.close();
  });

  test("a policy is compared with exact, and history brings pictures back", async () => {
    const { page, troubles } = await openPage();
    await loaded(page);
    await page.fill("#seed", "11");
    await page.selectOption("#policy", "fast");
    await page.check("input[value=compare]");
    await page.click("#draw");
    await page.waitForSelector("#comparison:not([hidden])");
    expect(await page.locator(".view .title").allTextContents()).toEqual(["exact", "fast"]);
    expect(await page.locator("#verdict dd").allTextContents()).toContain("the same picture");
    expect(await page.getAttribute("#difference", "aria-label")).toContain("the same picture");
    expect(await page.locator("#history-list li").count()).toBe(2);
    await page.reload();
    await loaded(page);
    expect(await page.inputValue("#seed")).toBe("11");
    await page.fill("#seed", "5");
    await page.locator("#history-list button").first().click();
    await finished(page);
    expect(await page.inputValue("#seed")).toBe("11");
    expect(await text(page, ".view .title")).toBe("fast");
    await page.click("#forget");
    await page.waitForSelector("#history", { state: "hidden" });
    expect(troubles).toEqual([]);
    await page.close();
  });

  test("trouble is said aloud, and a key is asked for where one is needed", async () => {
    const { page } = await openPage();
    await loaded(page);
    engine.failNext(new Error("broken"));
    await page.click("#draw");
    await page.waitForSelector("#trouble:not([hidden])");
    expect(await page.locator("[role=alert]").textContent()).toContain("A mistake in Tamias itself");
    await page.close();

    const guarded = listen(engine, {
      port: 0,
      settings: { apiKeys: [{ name: "ann", key: "ann-secret-key" }] },
    });
    const { page: locked } = await openPage({}, guarded.url);
    await locked.waitForSelector("#trouble:not([hidden])");
    expect(await text(locked, "#trouble")).toBe(
      "An API key is needed. Send it as `Authorization: Bearer KEY`.",
    );
    await locked.fill("#key", "ann-secret-key");
    await locked.keyboard.press("Tab");
    await loaded(locked);
    await locked.waitForSelector("#trouble", { state: "hidden" });
    await locked.fill("#prompt", "a fox");
    await locked.click("#draw");
    await finished(locked);
    await locked.close();
    await guarded.stop(0);
  });

  test.each([
    ["a desktop", { viewport: { width: 1360, height: 900 } }],
    ["a phone in the dark", { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true }],
  ] as const)("on %s nothing is cut off, and axe finds nothing to complain about", async (_, options) => {
    const { page } = await openPage(options);
    await loaded(page);
    await page.check("input[value=compare]");
    await page.click("#draw");
    await page.waitForSelector("#comparison:not([hidden])");
    expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(0);
    await page.evaluate(axe.source);
    const { violations } = (await page.evaluate("axe.run()")) as axe.AxeResults;
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join()}`)).toEqual([]);
    await page.close();
  });

  test("the document can be browsed without anything from elsewhere", async () => {
    const { page, troubles } = await openPage({}, `${server.url}/docs`);
    await page.waitForSelector(".opblock");
    expect(await page.locator(".opblock-summary-path").allTextContents()).toContain("/v1/generate");
    expect(troubles.filter((trouble) => !trouble.startsWith(server.url))).toEqual([]);
    await page.close();
  });
});
