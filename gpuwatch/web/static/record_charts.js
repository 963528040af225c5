// Estimates against outcomes, and whether forecasts keep their word: both with the line on which they are right.

import { axis, colour, numbers, size } from "./chart_parts.js";

export function draw(uPlot, figure, place, width) {
  (figure.dataset.chart === "scatter" ? scatter : calibration)(uPlot, figure, place, width);
}

function square(width) {
  const side = Math.min(width, 560);
  return { width: side, height: Math.round(side * 0.75) };
}

// Points without lines: uPlot sorts by x, so each is drawn by hand.
function points(plot, xs, ys, stroke, fill) {
  const { ctx, bbox } = plot;
  const radius = 3.5 * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.setLineDash([]); // what was drawn before may have left its own
  ctx.lineWidth = devicePixelRatio;
  ctx.strokeStyle = stroke;
  ctx.fillStyle = fill;
  for (const [place, x] of xs.entries()) {
    ctx.beginPath();
    ctx.arc(plot.valToPos(x, "x", true), plot.valToPos(ys[place], "y", true), radius, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}

// To 1, 2 or 5 times a power of ten below or above.
function round(amount, way) {
  const whole = 10 ** Math.floor(Math.log10(amount));
  const parts = [1, 2, 5, 10];
  const found = way === Math.floor ? parts.findLast((each) => each * whole <= amount) : parts.find((each) => each * whole >= amount);
  return (found ?? 1) * whole;
}

// Of a logarithmic axis only what begins with 1, 2 or 5 is written.
function plain(_, marks) {
  return marks.map((each) => (/^[125]/.test(each.toExponential()) ? each : null));
}

function scatter(uPlot, figure, place, width) {
  const columns = numbers(figure);
  const pairs = columns[3].map((declared, row) => [declared, columns[4][row]]).filter(([one, other]) => one > 0 && other > 0);
  if (!pairs.length) return;
  pairs.sort(([one], [other]) => one - other);
  const xs = pairs.map(([declared]) => declared);
  const ys = pairs.map(([, used]) => used);
  const ends = [round(Math.min(...xs, ...ys), Math.floor), round(Math.max(...xs, ...ys), Math.ceil)];
  const logs = { distr: 3, range: ends };
  new uPlot({
    ...square(width), legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, ...logs }, y: logs },
    series: [{}, { label: "declared", stroke: colour("soft"), dash: [5, 4], width: 1.5, points: { show: false } }],
    axes: [axis({ label: "declared, device-hours", size: 32, filter: plain }), axis({ label: "used, device-hours", size: 60, filter: plain })],
    hooks: { draw: [(plot) => points(plot, xs, ys, colour("used"), colour("fan-in"))] },
  }, [ends, ends], place);
}

function calibration(uPlot, figure, place, width) {
  const table = figure.querySelector("table");
  const [, promised, held] = numbers(figure);
  const first = table.tBodies[0].rows[0].cells[0].textContent;
  const rows = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const whole = promised.map((_, row) => row).filter((row) => rows[row] === first && held[row] !== null);
  const others = promised.map((_, row) => row).filter((row) => rows[row] !== first && held[row] !== null);
  const percent = (_, marks) => marks.map((each) => `${Math.round(each * 100)} %`);
  new uPlot({
    ...square(width), legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, range: [0.4, 1] }, y: { range: [0, 1.02] } },
    series: [
      {}, { label: "kept", stroke: colour("soft"), dash: [5, 4], width: 1.5, points: { show: false } },
      { label: "held", stroke: colour("used"), width: 2, points: { show: false }, spanGaps: true },
    ],
    axes: [axis({ label: "promised", values: percent, size: 32 }), axis({ label: "held", values: percent, size: 58 })],
    hooks: {
      draw: [(plot) => {
        points(plot, others.map((row) => promised[row]), others.map((row) => held[row]), colour("unknown"), "transparent");
        points(plot, whole.map((row) => promised[row]), whole.map((row) => held[row]), colour("used"), colour("used"));
      }],
    },
  }, joined(whole.map((row) => [promised[row], held[row]])), place);
}

function joined(told) {
  const xs = [...new Set([0, 0.4, ...told.map(([x]) => x), 1])].sort((one, other) => one - other);
  const known = new Map(told);
  return [xs, xs, xs.map((x) => known.get(x) ?? null)];
}
