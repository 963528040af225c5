// The charts of a job: burn-up with the fan, power and work, and how the forecast moved.

import { axis, colour, inUtc, legend, line, numbers, size, timeAxis, told } from "./chart_parts.js";

const FEW = 1.5; // a line is in the chart up to so many times what else is

export function draw(uPlot, figure, place, width) {
  ({ burnup, power, moved })[figure.dataset.chart](uPlot, figure, place, width);
}

function plot(uPlot, place, width, options, data) {
  new uPlot({
    ...size(width), tzDate: inUtc(uPlot), legend: legend(), cursor: { drag: { x: false, y: false }, y: false }, ...options,
  }, data, place);
}

function burnup(uPlot, figure, place, width) {
  const [times, used] = numbers(figure);
  const fan = figure.dataset.fan ? figure.dataset.fan.split(",").map(Number) : null;
  const [started, declared, limit] = ["started", "declared", "limit"].map((name) => told(figure, name));
  const last = times.length - 1;
  const now = times[last];
  const xs = started < times[0] ? [started, ...times] : [...times];
  const ys = started < times[0] ? [0, ...used] : [...used];
  const data = [xs, ys];
  const series = [{}, { label: "used", stroke: colour("used"), width: 2, points: { show: false } }];
  const bands = [];
  if (fan) {
    // To when it most likely ends; where nobody knows, as far again as half of what it ran.
    const ends = told(figure, "ends");
    const end = ends !== null && ends > now ? ends : now + (now - started) * 0.5;
    xs.push(end);
    ys.push(null);
    for (const [place, amount] of fan.entries()) {
      const values = xs.map(() => null);
      values[xs.length - 2] = used[last];
      values[xs.length - 1] = Math.max(amount, used[last]);
      data.push(values);
      const middle = place === 2;
      series.push({
        label: middle ? "most likely" : ["10 %", "25 %", "", "75 %", "90 %"][place], points: { show: false },
        stroke: middle ? colour("used") : "transparent", width: middle ? 2 : 0, dash: middle ? [6, 4] : undefined,
      });
    }
    bands.push({ series: [6, 2], fill: colour("fan") }, { series: [5, 3], fill: colour("fan-in") });
  }
  const top = Math.max(...used, fan ? Math.min(fan[4], 4 * fan[2]) : 0);
  const high = declared !== null && declared < FEW * 2 * top ? Math.max(top, declared) : top;
  plot(uPlot, place, width, {
    series, bands,
    legend: { show: false },
    scales: { y: { range: [0, high * 1.08 || 1] } },
    axes: [timeAxis(), axis({ label: "device-hours", size: 54 })],
    hooks: {
      draw: [(drawn) => {
        if (declared !== null) line(drawn, { y: declared, word: "declared", colour: colour("declared") });
        if (limit !== null) line(drawn, { x: limit, word: "time limit", colour: colour("spinning") });
      }],
    },
  }, data);
}

function power(uPlot, figure, place, width) {
  const [times, watts, work] = numbers(figure);
  plot(uPlot, place, width, {
    series: [
      {},
      { label: "power, W", stroke: colour("link"), width: 1.5, points: { show: false } },
      { label: "at work", scale: "part", stroke: colour("working"), width: 1.5, dash: [5, 3], points: { show: false } },
    ],
    scales: { y: { range: (_, __, most) => [0, (most || 1) * 1.08] }, part: { range: [0, 1.02] } },
    axes: [
      timeAxis(), axis({ label: "W", size: 60 }),
      axis({ scale: "part", side: 1, grid: { show: false }, values: (_, marks) => marks.map((each) => `${Math.round(each * 100)} %`), size: 50 }),
    ],
  }, [times, watts, work]);
}

function moved(uPlot, figure, place, width) {
  const [times, used, low, median, high] = numbers(figure);
  const declared = told(figure, "declared");
  const top = Math.max(...median, ...used) * 2;
  const most = Math.max(Math.min(Math.max(...high), top), declared !== null && declared < top ? declared : 0);
  const plain = { points: { show: false }, stroke: "transparent", width: 0 };
  plot(uPlot, place, width, {
    series: [
      {}, { label: "used", stroke: colour("soft"), width: 1.5, points: { show: false } }, { label: "10 %", ...plain },
      { label: "most likely", stroke: colour("used"), width: 2, points: { show: false } }, { label: "90 %", ...plain },
    ],
    legend: { show: false },
    bands: [{ series: [4, 2], fill: colour("fan-in") }],
    scales: { y: { range: [0, most * 1.08 || 1] } },
    axes: [timeAxis(), axis({ label: "device-hours", size: 54 })],
    hooks: { draw: [(drawn) => { if (declared !== null) line(drawn, { y: declared, word: "declared", colour: colour("declared") }); }] },
  }, [times, used, low, median, high]);
}
