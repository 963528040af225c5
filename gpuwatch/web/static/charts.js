// Draws the tables of numbers that are charts. uPlot is loaded where there is one.

const DRAWERS = {
  burnup: () => import("./job_charts.js"),
  power: () => import("./job_charts.js"),
  moved: () => import("./job_charts.js"),
  scatter: () => import("./record_charts.js"),
  calibration: () => import("./record_charts.js"),
};

const drawn = new Set();
let sheet = null;

export function draw(root) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    if (!figure.dataset.drawn) prepare(figure);
  }
}

async function prepare(figure) {
  figure.dataset.drawn = "yes";
  const details = figure.querySelector("details");
  // Open for those without a script; who opened or closed it since has the last word.
  if (!details.dataset.kept) details.open = false;
  const [{ default: uPlot }, drawers] = await Promise.all([import("./vendor/uplot/uPlot.js"), DRAWERS[figure.dataset.chart](), styled()]);
  const place = figure.querySelector(".plot");
  const show = () => {
    if (!figure.isConnected) return drawn.delete(show);
    place.querySelector(".uplot")?.remove();
    drawers.draw(uPlot, figure, place, Math.max(240, place.clientWidth));
  };
  drawn.add(show);
  show();
}

// The style sheet of uPlot, by a link: a style in the page is what its policy forbids.
function styled() {
  sheet ??= new Promise((resolve) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("./vendor/uplot/uPlot.css", import.meta.url).pathname;
    link.onload = link.onerror = resolve;
    document.head.prepend(link);
  });
  return sheet;
}

function again() {
  for (const show of [...drawn]) show();
}

let waiting = null;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(again, 150);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
