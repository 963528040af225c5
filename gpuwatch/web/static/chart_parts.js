// What all charts share: numbers out of tables, colours out of the style sheet, axes.

export function numbers(figure) {
  const columns = [];
  for (const row of figure.querySelector("table").tBodies[0].rows) {
    for (const [place, cell] of [...row.cells].entries()) {
      const said = cell.dataset.sort;
      (columns[place] ??= []).push(said === undefined || said === "" || Number.isNaN(Number(said)) ? null : Number(said));
    }
  }
  return columns;
}

export function told(figure, name) {
  const said = figure.dataset[name];
  return said === undefined ? null : Number(said);
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function axis(more = {}) {
  return {
    stroke: colour("soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 18,
    grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1, size: 5 }, ...more,
  };
}

const TIMES = [
  [3600 * 24 * 365, "{YYYY}", null, null, null, null, null, null, 1],
  [3600 * 24 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [3600 * 24, "{D} {MMM}", null, null, null, null, null, null, 1],
  [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
];

export function timeAxis() {
  return axis({ values: TIMES, size: 46 });
}

// In UTC, as everything on the page.
export function inUtc(uPlot) {
  return (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
}

export function size(width) {
  return { width, height: Math.round(Math.min(340, Math.max(210, width * 0.36))) };
}

export function legend() {
  return { live: false, markers: { width: 2 } };
}

// A line across or down, with a word at it.
export function line(plot, { x = null, y = null, word, colour: stroke }) {
  const { ctx, bbox } = plot;
  const at = x === null ? plot.valToPos(y, "y", true) : plot.valToPos(x, "x", true);
  const [low, high] = x === null ? [bbox.top, bbox.top + bbox.height] : [bbox.left, bbox.left + bbox.width];
  if (!(at >= low - 1 && at <= high + 1)) return;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = stroke;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  if (x === null) { ctx.moveTo(bbox.left, at); ctx.lineTo(bbox.left + bbox.width, at); }
  else { ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); }
  ctx.stroke();
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textBaseline = "bottom";
  if (x === null) { ctx.textAlign = "left"; ctx.fillText(word, bbox.left + 6 * devicePixelRatio, at - 3 * devicePixelRatio); }
  else { ctx.textAlign = "right"; ctx.fillText(word, at - 4 * devicePixelRatio, bbox.top + bbox.height - 4 * devicePixelRatio); }
  ctx.restore();
}
