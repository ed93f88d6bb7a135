const SVG = "http://www.w3.org/2000/svg";

/** Bars of the steps' densities, coloured by what the step did. */
export function drawChart(chart, steps, count, chosen) {
  chart.setAttribute("viewBox", `0 0 ${count * 10} 100`);
  const bars = steps.map(({ step, action, density }) => {
    const height = Math.max(3, density * 96);
    return shape({ x: step * 10 + 1, y: 98 - height, width: 8, height }, action);
  });
  bars.push(shape({ x: chosen * 10 + 0.5, y: 1, width: 9, height: 98 }, "chosen"));
  chart.replaceChildren(...bars);
  const of = (kind) => steps.filter(({ action }) => action === kind).length;
  chart.setAttribute(
    "aria-label",
    `Density by step: ${["dense", "refresh", "delta", "skip"].map((kind) => `${of(kind)} ${kind}`).join(", ")}`,
  );
}

function shape(box, kind) {
  const rect = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries(box)) rect.setAttribute(name, String(value));
  rect.setAttribute("class", kind);
  return rect;
}
