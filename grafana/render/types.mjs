// node types.mjs DASHBOARD.json…: are they dashboards to Grafana's own types? Prints what tsc says; exit 1 where not.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const folder = `${here}dist/types-${process.pid}`;
const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'esnext'];

// What Grafana reads and its published types lack: `auto…` of a variable (the SDK writes it), and the words of
// annotations, which the data sources of Prometheus and InfluxDB look for beside the common ones.
const UNTYPED = { variable: ['auto', 'auto_min', 'auto_count'], annotation: ['expr', 'titleFormat', 'textFormat', 'step', 'useValueForTime'] };

// In JSON an enumeration is its strings.
const TYPE = `import type { Dashboard } from '@grafana/schema';
type Json<T> = T extends string ? \`\${T}\` : T extends (infer U)[] ? Json<U>[] : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
`;

function typed(dashboard) {
  const without = (object, names) => Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
  const variables = (dashboard.templating?.list ?? []).map((each) => without(each, UNTYPED.variable));
  const notes = (dashboard.annotations?.list ?? []).map((each) => {
    const { target, ...rest } = without(each, UNTYPED.annotation);
    return target ? { ...rest, target: { refId: target.refId } } : rest;
  });
  return { ...dashboard, templating: { list: variables }, annotations: { list: notes } };
}

mkdirSync(folder, { recursive: true });
try {
  const sources = process.argv.slice(2).map((file) => {
    const source = `${folder}/${basename(file, '.json')}.ts`;
    const json = JSON.stringify(typed(JSON.parse(readFileSync(file, 'utf8'))), null, 1);
    writeFileSync(source, `${TYPE}export const board: Json<Dashboard> = ${json};\n`);
    return source;
  });
  const tsc = `${here}node_modules/typescript/bin/tsc`;
  const checked = spawnSync(process.execPath, [tsc, ...options, ...sources], { encoding: 'utf8' });
  process.stdout.write(checked.stdout);
  process.stderr.write(checked.stderr);
  process.exitCode = checked.status === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
