const KEPT = 40;
const STORE = "pictures";

/** Pictures drawn before, in this browser. */
export class History {
  /** Called with the entry that was chosen. */
  onChoose = () => {};
  #database;
  #list;
  #section;

  static async open(list, section) {
    const history = new History(list, section);
    // Where a browser keeps nothing (private windows), there is no history.
    history.#database = await openDatabase().catch(() => undefined);
    await history.#refresh();
    return history;
  }

  constructor(list, section) {
    this.#list = list;
    this.#section = section;
  }

  async add({ settings, blob, steps }) {
    if (!this.#database) return;
    const entry = { settings, blob, steps, name: nameOf(settings) };
    const [keys, entries] = await Promise.all([
      done(this.#store("readonly").getAllKeys()),
      done(this.#store("readonly").getAll()),
    ]);
    // The same picture drawn again takes its place; the oldest make room.
    const old = keys.filter((_, at) => entries[at].name === entry.name || at <= keys.length - KEPT);
    for (const key of old) await done(this.#store("readwrite").delete(key));
    await done(this.#store("readwrite").add(entry));
    await this.#refresh();
  }

  async clear() {
    if (this.#database) await done(this.#store("readwrite").clear());
    await this.#refresh();
  }

  #store(mode) {
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }

  async #refresh() {
    const entries = this.#database ? await done(this.#store("readonly").getAll()) : [];
    for (const image of this.#list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    this.#list.replaceChildren(...entries.toReversed().map((entry) => this.#item(entry)));
    this.#section.hidden = entries.length === 0;
  }

  #item(entry) {
    const { prompt, policy, steps, seed, seconds } = entry.settings;
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const image = document.createElement("img");
    image.alt = "";
    image.src = URL.createObjectURL(entry.blob);
    const words = document.createElement("span");
    words.textContent = prompt;
    const small = document.createElement("small");
    small.textContent = `${policy}, ${steps} steps, seed ${seed}, ${(seconds.total - seconds.queue).toFixed(1)} s`;
    button.append(image, words, small);
    button.addEventListener("click", () => this.onChoose(entry));
    item.append(button);
    return item;
  }
}

function nameOf({ model, prompt, policy, width, height, steps, seed, guidance }) {
  return JSON.stringify([model, prompt, policy, width, height, steps, seed, guidance]);
}

function openDatabase() {
  const request = indexedDB.open("tamias", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
  return done(request);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
