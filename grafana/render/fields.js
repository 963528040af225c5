// Transformations, defaults and overrides of fields: Grafana's own code, with the properties that panels use.
import {
  applyFieldOverrides, createTheme, FieldConfigOptionsRegistry, FieldType, identityOverrideProcessor,
  standardFieldConfigEditorRegistry, standardTransformers, standardTransformersRegistry, transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';
import { filledIn } from './ask';

export const theme = createTheme({ colors: { mode: 'dark' } });

const STANDARD = [
  'displayName', 'unit', 'min', 'max', 'decimals', 'noValue', 'thresholds', 'mappings', 'links', 'color',
];
const CUSTOM = [
  'lineStyle', 'fillOpacity', 'lineWidth', 'fillBelowTo', 'hideFrom', 'width', 'cellOptions', 'align', 'stacking',
  'drawStyle', 'lineInterpolation', 'showPoints', 'spanNulls', 'axisSoftMin', 'axisSoftMax', 'axisLabel',
  'axisPlacement', 'scaleDistribution', 'thresholdsStyle', 'gradientMode', 'pointSize', 'barAlignment',
  'axisColorMode', 'axisBorderShow', 'axisGridShow', 'axisWidth', 'axisCenteredZero', 'transform', 'filterable',
  'lineColor', 'inspect', 'minWidth',
];

// As in Grafana: the axis of times is none of the values.
const NUMBERS = new Set([...CUSTOM.filter((path) => path.startsWith('axis')), 'stacking', 'fillOpacity', 'lineWidth']);

const item = (path, isCustom) => ({
  id: isCustom ? `custom.${path}` : path,
  path, isCustom,
  name: path,
  process: identityOverrideProcessor,
  shouldApply: (field) => !NUMBERS.has(path) || field.type === FieldType.number,
  editor: () => null,
  override: () => null,
});
const standard = STANDARD.map((path) => item(path, false));
const registry = new FieldConfigOptionsRegistry();
for (const each of [...standard, ...CUSTOM.map((path) => item(path, true))]) registry.register(each);
standardFieldConfigEditorRegistry.setInit(() => standard);
standardTransformersRegistry.setInit(() =>
  Object.values(standardTransformers)
    .filter((each, place, all) => all.findIndex((other) => other.id === each.id) === place)
    .map((each) => ({ id: each.id, name: each.name, transformation: () => Promise.resolve(each), editor: () => null }))
);

const LINES = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', barAlignment: 0,
  spanNulls: false, showPoints: 'auto', pointSize: 5, stacking: { mode: 'none', group: 'A' }, axisPlacement: 'auto',
  axisColorMode: 'text', scaleDistribution: { type: 'linear' }, thresholdsStyle: { mode: 'off' },
  hideFrom: { legend: false, tooltip: false, viz: false },
};

/** Frames as a panel shows them. */
export async function shown(panel, frames, settings) {
  const steps = (panel.transformations ?? []).filter((each) => !each.disabled);
  const data = await lastValueFrom(transformDataFrame(steps, frames, { interpolate: (said) => said }));
  const { defaults, overrides } = panel.fieldConfig;
  const custom = panel.type === 'timeseries' ? { ...LINES, ...defaults.custom } : { ...defaults.custom };
  const colour = { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' };
  return applyFieldOverrides({
    data,
    fieldConfig: { defaults: { color: colour, ...defaults, custom }, overrides },
    fieldConfigRegistry: registry,
    replaceVariables: (text) => filledIn(text, settings.variables),
    theme,
    timeZone: 'utc',
  });
}
