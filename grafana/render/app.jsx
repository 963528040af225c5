// A page that shows one dashboard's JSON with the data of real servers. `/settings.json` says where to look and when.
import { initPluginTranslations } from '@grafana/i18n';
import { dateTime, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { annotationsOf, framesOf } from './ask';
import { shown, theme } from './fields';
import { Body, Nothing } from './panels';

const ROW = 38;
const GAP = 8;
const HEAD = 62;

let waiting = 0;
const failures = [];
window.__report = () => ({ waiting, failures });

function Panel({ panel, settings, column, range, annotations }) {
  const [frames, setFrames] = useState(null);
  const { x, y, w, h } = panel.gridPos;
  const width = w * column - GAP;
  const height = h * ROW - GAP;
  useEffect(() => {
    framesOf(panel, settings, width)
      .then((found) => shown(panel, found, settings))
      .then((found) => setFrames(found))
      .catch((error) => failures.push(`${panel.title}: ${error.message}`))
      .finally(() => (waiting -= 1));
  }, []);
  return (
    <div style={{ position: 'absolute', left: x * column, top: y * ROW }} data-panel={panel.title}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(innerWidth, innerHeight) =>
          frames && (
            <Body panel={panel} frames={frames} width={innerWidth} height={innerHeight} range={range} annotations={annotations} />
          )
        }
      </PanelChrome>
    </div>
  );
}

const Chip = ({ name, value }) => (
  <span style={{ border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '4px 8px', marginRight: 8 }}>
    <span style={{ color: theme.colors.text.secondary, marginRight: 8 }}>{name}</span>
    <span style={{ color: theme.colors.text.primary }}>{value}</span>
  </span>
);

function Head({ dashboard, settings }) {
  const names = (dashboard.templating?.list ?? []).filter((each) => each.name !== 'datasource' && each.hide !== 2);
  const said = (name) => settings.shown?.[name] ?? 'All';
  return (
    <div style={{ height: HEAD - 8, display: 'flex', alignItems: 'center', justifyContent: 'space-between', paddingRight: GAP }}>
      <span style={{ fontSize: 18, fontWeight: 500, color: theme.colors.text.primary }}>{dashboard.title}</span>
      <span style={{ fontSize: 12 }}>
        {names.map((each) => (
          <Chip key={each.name} name={each.label} value={said(each.name)} />
        ))}
      </span>
    </div>
  );
}

const Heading = ({ panel }) => (
  <div style={{ position: 'absolute', left: 0, top: panel.gridPos.y * ROW + 6, fontSize: 15, fontWeight: 500, color: theme.colors.text.primary }}>
    {panel.title}
  </div>
);

function Dashboard({ dashboard, settings, annotations }) {
  const column = (settings.width - 2 * GAP) / 24;
  const range = { from: dateTime(settings.from * 1000), to: dateTime(settings.to * 1000), raw: { from: 'now-1h', to: 'now' } };
  const tall = Math.max(...dashboard.panels.map((each) => each.gridPos.y + each.gridPos.h)) * ROW;
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div id="page" style={{ width: settings.width - GAP, height: tall + HEAD, paddingLeft: GAP, background: theme.colors.background.canvas }}>
        <Head dashboard={dashboard} settings={settings} />
        <div style={{ position: 'relative' }}>
          {dashboard.panels.map((each) =>
            each.type === 'row' ? (
              <Heading key={each.id} panel={each} />
            ) : (
              <Panel key={each.id} panel={each} settings={settings} column={column} range={range} annotations={annotations} />
            )
          )}
        </div>
      </div>
    </ThemeContext.Provider>
  );
}

const read = async (path) => (await fetch(path)).json();

(async () => {
  await initPluginTranslations('gpuwatch', []);
  const [dashboard, settings] = await Promise.all([read('/dashboard.json'), read('/settings.json')]);
  const annotations = await annotationsOf(dashboard, settings).catch((error) => failures.push(`annotations: ${error.message}`) && []);
  waiting = dashboard.panels.filter((each) => each.type !== 'row').length;
  createRoot(document.getElementById('root')).render(<Dashboard {...{ dashboard, settings, annotations }} />);
  document.title = 'rendered';
})();
