// A status history, drawn here as Grafana draws it: that panel is not among the published components. Names, colours
// and words come from Grafana's own display processors.
import { getFieldDisplayName } from '@grafana/data';
import { VizLegend } from '@grafana/ui';
import { useEffect, useRef } from 'react';
import { theme } from './fields';

const AXIS = 24;
const LEGEND = 30;

function drawn(canvas, rows, range, width, height) {
  const context = canvas.getContext('2d');
  context.scale(devicePixelRatio, devicePixelRatio);
  context.font = '12px Inter, "DejaVu Sans", sans-serif';
  const names = Math.max(...rows.map((row) => context.measureText(row.name).width)) + 12;
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const across = (time) => names + ((time - from) / (to - from)) * (width - names);
  const tall = (height - AXIS) / rows.length;
  rows.forEach((row, place) => {
    const top = place * tall;
    context.fillStyle = theme.colors.text.secondary;
    context.textBaseline = 'middle';
    context.fillText(row.name, 0, top + tall / 2);
    const step = row.times.length > 1 ? row.times[1] - row.times[0] : to - from;
    const wide = (step / (to - from)) * (width - names);
    row.values.forEach((value, at) => {
      if (value === null || value === undefined) return;
      context.fillStyle = row.display(value).color;
      context.globalAlpha = 0.85;
      const left = Math.max(across(row.times[at]) - wide / 2, names);
      const right = Math.min(across(row.times[at]) + wide / 2, width);
      context.fillRect(left + 0.4, top + tall * 0.06, Math.max((right - left) * 0.94, 1), tall * 0.88);
      context.globalAlpha = 1;
    });
  });
  axis(context, from, to, across, height - AXIS);
}

function axis(context, from, to, across, top) {
  const minutes = [1, 2, 5, 10, 15, 30, 60].find((each) => (to - from) / 60000 / each <= 9) ?? 120;
  const every = minutes * 60000;
  context.fillStyle = theme.colors.text.secondary;
  context.textAlign = 'center';
  for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
    const x = across(at);
    const said = new Date(at).toISOString().slice(11, 16);
    if (x > 60) context.fillText(said, x, top + AXIS / 2 + 2);
  }
}

const coloured = (label, color) => ({ label, color: theme.visualization.getColorByName(color), yAxis: 1 });

/** What the colours mean: the words of mappings, or else the limits of thresholds. */
function wordsOf(field) {
  const mapped = (field.config.mappings ?? []).flatMap((mapping) => Object.values(mapping.options));
  if (mapped.length > 0) return mapped.sort((one, other) => one.index - other.index).map((each) => coloured(each.text, each.color));
  const said = (value) => `${Math.round(value * 100)}%`;
  const steps = field.config.thresholds.steps;
  return steps.map((each, at) => coloured(at === 0 ? `< ${said(steps[1].value)}` : `${said(each.value)}+`, each.color));
}

export function History({ panel, frames, width, height, range }) {
  const canvas = useRef(null);
  const fields = frames.flatMap((frame) => frame.fields.filter((field) => field.type === 'number').map((field) => [frame, field]));
  const words = wordsOf(fields[0][1]);
  const tall = height - (words.length > 0 ? LEGEND : 0);
  useEffect(() => {
    const rows = fields.map(([frame, field]) => ({
      name: getFieldDisplayName(field, frame, frames),
      times: frame.fields[0].values,
      values: field.values,
      display: field.display,
    }));
    rows.sort((one, other) => one.name.localeCompare(other.name, 'en', { numeric: true }));
    drawn(canvas.current, rows, range, width, tall);
  }, []);
  const size = { width: width * devicePixelRatio, height: tall * devicePixelRatio };
  return (
    <div>
      <canvas ref={canvas} {...size} style={{ width, height: tall, display: 'block' }} />
      {words.length > 0 && <VizLegend items={words} displayMode="list" placement="bottom" />}
    </div>
  );
}
