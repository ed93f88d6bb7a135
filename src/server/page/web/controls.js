const KEY = "tamias.api-key";
const SETTINGS = "tamias.settings";
const glue = new Set(
  "a an and of the in on at to with big small large from behind front left right next".split(" "),
);

/** The form: what to draw, and what this server allows. */
export class Controls {
  /** Called when another API key was typed in. */
  onKey = () => {};
  #form;
  #vocabulary = {};
  #known = new Set();

  constructor(form) {
    this.#form = form;
    this.#element("new-seed").addEventListener("click", () => {
      this.#element("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    });
    this.#element("surprise").addEventListener("click", () => this.#surprise());
    this.#element("prompt").addEventListener("input", () => this.#noteUnknownWords());
    this.#element("policy").addEventListener("change", () => this.#explainPolicy());
    this.#element("key").value = sessionStorage.getItem(KEY) ?? "";
    this.#element("key").addEventListener("change", (event) => {
      sessionStorage.setItem(KEY, event.target.value);
      this.onKey();
    });
  }

  get apiKey() {
    return this.#element("key").value || undefined;
  }

  get mode() {
    return new FormData(this.#form).get("mode");
  }

  set busy(busy) {
    this.#element("draw").disabled = busy;
    this.#element("stop").disabled = !busy;
  }

  /** Asks the server what it has. @returns the model's name and device */
  async load() {
    const [models, policies] = await Promise.all([this.#get("v1/models"), this.#get("v1/policies")]);
    const [model] = models.data;
    this.#vocabulary = await this.#get(`v1/models/${encodeURIComponent(model.id)}/words`);
    this.#known = new Set(Object.values(this.#vocabulary).flat().flatMap(wordsOf));
    this.#offerSizes(model);
    this.#element("steps").max = String(model.max_steps);
    this.#element("policy").replaceChildren(
      ...policies.policies.map(({ name, description }) => {
        const option = new Option(name, name, name === "balanced", name === "balanced");
        option.dataset.words = description;
        return option;
      }),
    );
    this.#explainPolicy();
    this.#remember();
    return { model: model.id, device: model.device };
  }

  /** Whether everything is filled in; points at what is not. */
  check() {
    return this.#form.reportValidity();
  }

  /** The request, without its policy's alternatives. */
  request() {
    const fields = Object.fromEntries(new FormData(this.#form));
    const [width, height] = fields.size.split("x").map(Number);
    const { prompt, policy, size } = fields;
    const [steps, seed] = [Number(fields.steps), Number(fields.seed)];
    localStorage.setItem(SETTINGS, JSON.stringify({ prompt, policy, size, steps, seed }));
    return { prompt, policy, width, height, steps, seed };
  }

  restore({ prompt, policy, width, height, steps, seed }) {
    this.#fill({ prompt, policy, size: `${width}x${height}`, steps, seed });
  }

  askForKey() {
    this.#element("key-field").hidden = false;
    this.#element("key").focus();
  }

  #element(id) {
    return document.getElementById(id);
  }

  async #get(path) {
    const headers = this.apiKey ? { authorization: `Bearer ${this.apiKey}` } : {};
    const response = await fetch(path, { headers });
    if (response.status === 401) this.askForKey();
    if (!response.ok) throw new Error((await response.json()).error?.message ?? response.statusText);
    return await response.json();
  }

  #offerSizes({ native_size: native, max_pixels: most }) {
    const side = native ?? 512;
    const shapes = [
      [1, 1],
      [2, 2],
      [2, 1],
      [1, 2],
      [4, 4],
    ]
      .map(([across, down]) => [side * across, side * down])
      .filter(([width, height]) => width * height <= most);
    this.#element("size").replaceChildren(
      ...shapes.map(([width, height]) => new Option(`${width} × ${height}`, `${width}x${height}`)),
    );
  }

  #explainPolicy() {
    this.#element("policy-words").textContent =
      this.#element("policy").selectedOptions[0]?.dataset.words ?? "";
  }

  /** What was drawn last time, or something to begin with. */
  #remember() {
    const kept = localStorage.getItem(SETTINGS);
    if (kept) this.#fill(JSON.parse(kept));
    else if (this.#element("prompt").value === "") {
      if (this.#vocabulary.concepts)
        this.#element("prompt").value = "3d render of a fox on a sky blue background";
    }
    this.#noteUnknownWords();
  }

  #fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.#element(name);
      if (
        field instanceof HTMLSelectElement &&
        ![...field.options].some((option) => option.value === value)
      ) {
        if (name !== "size") continue;
        field.append(new Option(value.replace("x", " × "), value));
      }
      field.value = String(value);
    }
    this.#explainPolicy();
    this.#noteUnknownWords();
  }

  #surprise() {
    const pick = (values) => values[Math.floor(Math.random() * values.length)];
    const { concepts, colours } = this.#vocabulary;
    this.#element("prompt").value =
      concepts && colours
        ? `3d render of a ${pick(concepts)} on a ${pick(colours)} background`
        : pick(["a red fox in the snow", "a lighthouse at dusk", "a bowl of cherries, still life"]);
    this.#element("new-seed").click();
    this.#noteUnknownWords();
  }

  #noteUnknownWords() {
    if (this.#known.size === 0) return;
    const words = new Set(wordsOf(this.#element("prompt").value));
    const unknown = [...words].filter((word) => !this.#known.has(word) && !glue.has(word));
    this.#element("words").textContent =
      unknown.length > 0 ? `This model never saw: ${unknown.join(", ")}.` : "";
  }
}

function wordsOf(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
