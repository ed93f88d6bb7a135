import { Controls } from "./controls.js";
import { compare, verdictOf } from "./compare.js";
import { drawMeanColumns } from "./heat-map.js";
import { History } from "./history.js";
import { PictureView } from "./picture-view.js";
import { run } from "./run.js";

const element = (id) => document.getElementById(id);
const controls = new Controls(element("controls"));
const history = await History.open(element("history-list"), element("history"));
const views = element("views");
const comparison = element("comparison");
let running;
let shown = [];

/** Makes room for as many pictures as will be drawn. */
function makeViews(titles) {
  for (const view of shown) view.release();
  const made = titles.map((title) => new PictureView(element("view-template"), title));
  views.replaceChildren(...made.map((view) => view.element));
  views.dataset.count = String(titles.length);
  comparison.hidden = true;
  shown = made;
  return made;
}

async function draw() {
  if (running || !controls.check()) return;
  running = new AbortController();
  controls.busy = true;
  showTrouble("");
  const request = controls.request();
  const modes = controls.mode === "compare" ? ["exact", request.policy] : [request.policy];
  const made = makeViews(modes);
  say(`Drawing ${request.prompt}.`);
  // On a phone the pictures are below the form.
  if (views.getBoundingClientRect().top > innerHeight * 0.6) views.scrollIntoView({ block: "start" });
  try {
    // Both are asked for at once; the server draws one after the other.
    const results = await Promise.all(
      made.map((view, at) =>
        run({ ...request, policy: modes[at] }, view, { apiKey: controls.apiKey, signal: running.signal }),
      ),
    );
    for (const result of results) await history.add(result);
    if (results.length === 2) showComparison(results, made);
    say(`Finished. ${results.map(({ words }) => words).join(" ")}`);
  } catch (error) {
    const stopped = running.signal.aborted;
    running.abort();
    for (const view of made) view.stopped();
    if (!stopped) showTrouble(error.problem?.detail ?? error.message);
    if (error.status === 401) controls.askForKey();
    if (stopped) say("Stopped.");
  } finally {
    running = undefined;
    controls.busy = false;
  }
}

function showComparison(results, [exact, other]) {
  const gain = element("gain");
  const show = () => {
    element("gain-words").textContent = gain.value;
    return compare(exact.pixels(), other.pixels(), element("difference"), Number(gain.value));
  };
  gain.oninput = show;
  const quality = show();
  element("verdict").replaceChildren(
    ...verdictOf(results, quality).map(([name, value]) => {
      const row = document.createElement("div");
      const term = document.createElement("dt");
      const words = document.createElement("dd");
      term.textContent = name;
      words.textContent = value;
      row.append(term, words);
      return row;
    }),
  );
  element("mean-columns-words").textContent = drawMeanColumns(element("mean-columns"), results[1].steps);
  comparison.hidden = false;
}

function showTrouble(text) {
  element("trouble").textContent = text;
  element("trouble").hidden = text === "";
}

function say(text) {
  element("status").textContent = text;
}

element("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  void draw();
});
element("stop").addEventListener("click", () => running?.abort());
element("forget").addEventListener("click", () => history.clear());
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void draw();
  if (event.key === "Escape") running?.abort();
});
history.onChoose = async (entry) => {
  if (running) return;
  controls.restore(entry.settings);
  const [view] = makeViews([entry.settings.policy]);
  await view.showSaved(entry);
  element("stage").focus();
};

async function connect() {
  showTrouble("");
  try {
    const { model, device } = await controls.load();
    element("about").textContent = `${model} on ${device}`;
  } catch (error) {
    element("about").textContent = "";
    showTrouble(error.message);
  }
}

controls.onKey = connect;
makeViews(["Nothing drawn yet"]);
await connect();
