// Asks Prometheus and InfluxDB what the targets of a panel ask, and makes frames of the answers as Grafana does.
import { toDataFrame, FieldType } from '@grafana/data';

const REFRESH = 5;

/** Puts values in place of variables: $name and ${name}, and of ${name:...} too. */
export function filledIn(text, values) {
  const byLength = Object.keys(values).sort((a, b) => b.length - a.length);
  return byLength.reduce(
    (said, name) => said.replaceAll(new RegExp(`\\$\\{${name}(:[^}]*)?\\}|\\$${name}`, 'g'), () => values[name]),
    text
  );
}

/** Times of a panel: from where to where, how far apart points are, in seconds. */
export function timesOf(panel, settings, width) {
  const points = panel.maxDataPoints ?? Math.max(60, Math.round(width));
  const least = panel.interval ? Number.parseInt(panel.interval, 10) * (panel.interval.endsWith('m') ? 60 : 1) : 1;
  const scrape = settings.scrape ?? REFRESH;
  const step = Math.max(least, scrape, Math.ceil((settings.to - settings.from) / points));
  return { from: Math.floor(settings.from / step) * step, to: settings.to, step, rate: Math.max(step + scrape, 4 * scrape) };
}

const label = (format, metric) =>
  format ? format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => metric[name] ?? '') : nameOf(metric);

function nameOf(metric) {
  const { __name__: name = '', ...labels } = metric;
  const said = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return said.length > 0 || name ? `${name}{${said.join(', ')}}` : 'Value';
}

async function answer(path, parameters) {
  const body = new URLSearchParams(parameters);
  const got = await (await fetch(path, { method: 'POST', body })).json();
  if (got.error) throw new Error(`${got.error}: ${parameters.query ?? parameters.q}`);
  return got;
}

function table(result, ref, alone) {
  const names = [...new Set(result.flatMap((each) => Object.keys(each.metric)))];
  const value = alone ? 'Value' : `Value #${ref}`;
  return toDataFrame({
    refId: ref,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map((each) => each.value[0] * 1000) },
      ...names.map((name) => ({ name, type: FieldType.string, values: result.map((each) => each.metric[name] ?? '') })),
      { name: value, type: FieldType.number, values: result.map((each) => Number(each.value[1])) },
    ],
  });
}

function series(name, ref, labels, times, values) {
  return toDataFrame({
    refId: ref,
    name,
    fields: [
      { name: 'Time', type: FieldType.time, values: times },
      { name: 'Value', type: FieldType.number, labels, config: { displayNameFromDS: name }, values },
    ],
  });
}

/** Points as Grafana gets them: one at each step, null where there is none. */
function evenly(found, times) {
  const at = new Map(found.map(([time, value]) => [Math.round(time), Number(value)]));
  const steps = Math.floor((times.to - times.from) / times.step);
  const seconds = Array.from({ length: steps + 1 }, (_, place) => times.from + place * times.step);
  return [seconds.map((second) => second * 1000), seconds.map((second) => at.get(second) ?? null)];
}

async function prometheus(target, times, values, alone) {
  const query = filledIn(target.expr, values);
  if (target.instant) {
    const { data } = await answer('/prometheus/api/v1/query', { query, time: times.to });
    if (target.format === 'table') return data.result.length > 0 ? [table(data.result, target.refId, alone)] : [];
    return data.result.map((each) =>
      series(label(target.legendFormat, each.metric), target.refId, each.metric, [each.value[0] * 1000], [Number(each.value[1])])
    );
  }
  const asked = { query, start: times.from, end: times.to, step: times.step };
  const { data } = await answer('/prometheus/api/v1/query_range', asked);
  return data.result.map((each) =>
    series(label(target.legendFormat, each.metric), target.refId, each.metric, ...evenly(each.values, times))
  );
}

const alias = (said, tags, column) =>
  said ? said.replace(/\$tag_(\w+)/g, (_, name) => tags[name] ?? '').replace(/\$col/g, column) : column;

function influxTable(found, ref) {
  const tags = [...new Set(found.flatMap((each) => Object.keys(each.tags ?? {})))];
  const names = found[0].columns;
  const rows = found.flatMap((each) => each.values.map((row) => [...tags.map((tag) => each.tags[tag]), ...row]));
  return toDataFrame({
    refId: ref,
    fields: [...tags, ...names].map((name, place) => {
      const values = rows.map((row) => row[place]);
      const words = place < tags.length || values.some((value) => typeof value === 'string');
      const type = name === 'time' ? FieldType.time : words ? FieldType.string : FieldType.number;
      return { name: name === 'time' ? 'Time' : name, type, values };
    }),
  });
}

async function influxdb(target, times, values, settings) {
  const parameters = { q: filledIn(target.query, values), db: settings.database, epoch: 'ms' };
  const { results } = await answer('/influxdb/query', parameters);
  if (results[0].error) throw new Error(`${results[0].error}: ${parameters.q}`);
  const found = results[0].series ?? [];
  if (target.resultFormat === 'table') return found.length > 0 ? [influxTable(found, target.refId)] : [];
  return found.flatMap((each) =>
    each.columns.slice(1).map((column, place) => {
      const rows = each.values.filter((row) => row[place + 1] !== null);
      const name = alias(target.alias, each.tags ?? {}, column);
      return series(name, target.refId, each.tags ?? {}, rows.map((row) => row[0]), rows.map((row) => row[place + 1]));
    })
  );
}

function valuesAt(times, settings) {
  const range = Math.round(times.to - times.from);
  return {
    ...settings.variables,
    __rate_interval: `${times.rate}s`,
    __interval: `${times.step}s`,
    __range: `${range}s`,
    __range_s: `${range}`,
    timeFilter: `time >= ${Math.floor(times.from)}s AND time <= ${Math.ceil(times.to)}s`,
  };
}

/** The frames of a panel, before its transformations. */
export async function framesOf(panel, settings, width) {
  const times = timesOf(panel, settings, width);
  const values = valuesAt(times, settings);
  const alone = panel.targets.length === 1;
  const found = await Promise.all(
    panel.targets.map((each) =>
      each.datasource.type === 'influxdb'
        ? influxdb(each, times, values, settings)
        : prometheus(each, times, values, alone)
    )
  );
  return found.flat();
}

/** When something that is drawn over every graph was so: from and to in milliseconds, and the colour. */
export async function annotationsOf(dashboard, settings) {
  const asked = (dashboard.annotations?.list ?? []).filter((each) => each.enable && (each.expr || each.target?.query));
  const found = await Promise.all(asked.map((each) => (each.expr ? spans(each, settings) : moments(each, settings))));
  return found.flat();
}

async function spans(annotation, settings) {
  const step = settings.scrape ?? REFRESH;
  const times = { from: Math.floor(settings.from / step) * step, to: settings.to, step };
  const query = filledIn(annotation.expr, valuesAt({ ...times, rate: 4 * step }, settings));
  const { data } = await answer('/prometheus/api/v1/query_range', { query, start: times.from, end: times.to, step });
  return data.result.map((each) => ({
    from: each.values[0][0] * 1000,
    to: each.values.at(-1)[0] * 1000,
    colour: annotation.iconColor,
    text: filledIn(label(annotation.titleFormat, each.metric), {}),
  }));
}

async function moments(annotation, settings) {
  const values = valuesAt({ from: settings.from, to: settings.to, step: 5, rate: 20 }, settings);
  const parameters = { q: filledIn(annotation.target.query, values), db: settings.database, epoch: 'ms' };
  const { results } = await answer('/influxdb/query', parameters);
  if (results[0].error) throw new Error(`${results[0].error}: ${parameters.q}`);
  const rows = (results[0].series ?? []).flatMap((each) => each.values);
  return rows.map((row) => ({ from: row[0], to: row[0], colour: annotation.iconColor, text: String(row[1]) }));
}
