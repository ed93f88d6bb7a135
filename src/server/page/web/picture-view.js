import { drawColumns } from "./heat-map.js";
import { percent } from "./run.js";
import { drawChart } from "./step-chart.js";

/** One picture as it forms: the estimate, how far it is, and what each step did. */
export class PictureView {
  element;
  /** The step messages so far. */
  steps = [];
  #picture;
  #chosen = 0;
  /** Whether the slider follows the latest step. */
  #follows = true;
  #began = 0;

  constructor(template, title) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#part("title").textContent = title;
    this.#picture = this.#part("picture");
    Object.assign(this.#picture, { width: 1, height: 1 });
    this.#part("step-slider").addEventListener("input", (event) => {
      this.#chosen = Number(event.target.value);
      this.#follows = this.#chosen === this.steps.length - 1;
      this.#inspect();
    });
    this.#part("show-columns").addEventListener("change", () => this.#inspect());
  }

  begin({ width, height, prompt }) {
    this.#began = performance.now();
    Object.assign(this.#picture, { width, height });
    this.#picture.setAttribute("aria-label", `A picture of ${prompt}, not begun`);
    this.#part("state").textContent = "asking …";
    this.#progress().removeAttribute("value");
  }

  /** Shows a message of the server's. */
  async show(message) {
    switch (message.type) {
      case "queued":
        this.#part("state").textContent =
          message.position > 0 ? `waiting, ${message.position} before it` : "waiting";
        break;
      case "start":
        this.#part("state").textContent = "drawing";
        this.#progress().max = message.steps;
        break;
      case "step":
        this.steps.push(message);
        if (this.#follows) this.#chosen = this.steps.length - 1;
        this.#progress().value = message.step + 1;
        this.#read(`${message.step + 1} / ${message.steps}`, message.density, this.#elapsed());
        this.#inspect();
        break;
      case "preview":
        await this.#paint(message.payload, message.format);
        this.#picture.setAttribute("aria-label", `An estimate of the picture after step ${message.step + 1}`);
        break;
      case "result":
        await this.#paint(message.payload, message.format);
        this.#finish(message);
        this.#offer(new Blob([message.payload], { type: "image/png" }), message);
        break;
      default:
    }
  }

  /** Shows a picture of the history. */
  async showSaved({ settings, blob, steps }) {
    this.steps = steps;
    this.#chosen = 0;
    this.#follows = false;
    await this.#paint(await blob.arrayBuffer(), "png");
    this.#finish(settings);
    this.#offer(blob, settings);
    this.#inspect();
  }

  stopped() {
    if (this.#part("state").textContent !== "") this.#part("state").textContent = "stopped";
    this.#progress().value ||= 0;
  }

  /** The pixels shown. */
  pixels() {
    const { width, height } = this.#picture;
    return this.#picture.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
  }

  /** Lets go of what the browser keeps for it. */
  release() {
    URL.revokeObjectURL(this.#part("save").href);
  }

  #part(name) {
    return this.element.querySelector(`.${name}`);
  }

  #progress() {
    return this.element.querySelector("progress");
  }

  #elapsed() {
    return (performance.now() - this.#began) / 1000;
  }

  #read(step, density, seconds) {
    this.#part("step").textContent = step;
    this.#part("density").textContent = percent(density);
    this.#part("seconds").textContent = seconds.toFixed(1);
  }

  #finish({ steps, density, seconds, prompt, policy }) {
    this.#part("state").textContent = "";
    Object.assign(this.#progress(), { max: 1, value: 1 });
    this.#read(`${steps} / ${steps}`, density, seconds.total - seconds.queue);
    this.#picture.setAttribute("aria-label", `The picture of ${prompt}, drawn at ${policy}`);
  }

  async #paint(bytes, format) {
    const bitmap = await createImageBitmap(new Blob([bytes], { type: `image/${format}` }));
    Object.assign(this.#picture, { width: bitmap.width, height: bitmap.height });
    this.#picture.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
    bitmap.close();
  }

  #offer(blob, { prompt, seed, policy }) {
    const link = this.#part("save");
    link.href = URL.createObjectURL(blob);
    link.download = `${prompt.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 48)}-${seed}-${policy}.png`;
    link.hidden = false;
  }

  /** What the chosen step did. */
  #inspect() {
    const step = this.steps[this.#chosen];
    this.#part("inspector").hidden = !step;
    if (!step) return;
    drawChart(this.#part("chart"), this.steps, step.steps, this.#chosen);
    Object.assign(this.#part("step-slider"), {
      max: String(this.steps.length - 1),
      value: String(this.#chosen),
    });
    this.#part("step-words").textContent =
      `step ${step.step + 1}: ${step.action}, ${percent(step.density)} in ${step.seconds.toFixed(2)} s`;
    const shows = this.#part("show-columns").checked;
    const columns = this.#part("columns");
    columns.hidden = !shows || step.action === "skip";
    this.#part("columns-words").textContent = shows ? drawColumns(columns, step) : "";
  }
}
