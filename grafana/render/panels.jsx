// The panels: Grafana's own components, as far as they are published. Status histories are drawn here (history.jsx).
import { getFieldDisplayValues, VizOrientation } from '@grafana/data';
import { BarGauge, BigValue, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import { theme } from './fields';
import { History } from './history';

export function Nothing({ panel, width, height }) {
  const style = { width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', opacity: 0.65, textAlign: 'center' };
  return <div style={style}>{panel.fieldConfig.defaults.noValue}</div>;
}

function marks(annotations) {
  return (builder) => {
    builder.addHook('draw', (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      for (const { from, to, colour } of annotations) {
        const [left, right] = [from, to].map((at) => plot.valToPos(at, 'x', true));
        const [begin, end] = [Math.max(left, bbox.left), Math.min(right, bbox.left + bbox.width)];
        if (end < bbox.left || begin > bbox.left + bbox.width) continue;
        ctx.fillStyle = ctx.strokeStyle = theme.visualization.getColorByName(colour);
        ctx.globalAlpha = 0.05;
        ctx.fillRect(begin, bbox.top, Math.max(end - begin, 0), bbox.height);
        ctx.globalAlpha = 0.9;
        ctx.fillRect(begin, bbox.top + bbox.height, Math.max(end - begin, 2), 4);
        ctx.setLineDash([4, 4]);
        ctx.beginPath();
        ctx.moveTo(begin, bbox.top);
        ctx.lineTo(begin, bbox.top + bbox.height);
        ctx.stroke();
        ctx.setLineDash([]);
      }
      ctx.restore();
    });
    return null;
  };
}

function Lines({ panel, frames, width, height, range, annotations }) {
  const legend = { calcs: [], ...panel.options.legend };
  frames.forEach((frame) => frame.fields.forEach((field) => (field.config.custom ??= {})));
  return (
    <TimeSeries frames={frames} timeRange={range} timeZone="utc" width={width} height={height} legend={legend} options={{}}>
      {marks(annotations)}
    </TimeSeries>
  );
}

const fieldValues = (panel, frames) =>
  getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: { values: false, calcs: ['lastNotNull'], ...panel.options.reduceOptions },
    replaceVariables: (text) => text,
    theme,
    data: frames,
    timeZone: 'utc',
  });

function Numbers({ panel, frames, width, height }) {
  const { colorMode = 'value', graphMode = 'none', textMode = 'auto' } = panel.options;
  return (
    <VizRepeater
      source={frames} getValues={() => fieldValues(panel, frames)} width={width} height={height} renderCounter={0}
      orientation={VizOrientation.Auto} autoGrid
      renderValue={({ value, width: w, height: h, count }) => (
        <BigValue
          value={value.display} width={w} height={h} theme={theme} colorMode={colorMode} graphMode={graphMode}
          justifyMode="auto" textMode={textMode} count={count} text={panel.options.text}
        />
      )}
    />
  );
}

function Bars({ panel, frames, width, height }) {
  return (
    <VizRepeater
      source={frames} getValues={() => fieldValues(panel, frames)} width={width} height={height} renderCounter={0}
      orientation={VizOrientation.Horizontal} minVizHeight={16} maxVizHeight={40} itemSpacing={6}
      renderValue={({ value, width: w, height: h, alignmentFactors }) => (
        <BarGauge
          value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          width={w} height={h} theme={theme} orientation={VizOrientation.Horizontal} alignmentFactors={alignmentFactors}
          displayMode={panel.options.displayMode ?? 'basic'} showUnfilled itemSpacing={6}
        />
      )}
    />
  );
}

function Rows({ panel, frames, width, height }) {
  const sort = (panel.options?.sortBy ?? []).map((each) => ({ displayName: each.displayName, desc: each.desc }));
  return (
    <div style={{ fontSize: 13 }}>
      <Table data={frames[0]} width={width} height={height} initialSortBy={sort} cellHeight={panel.options.cellHeight ?? 'sm'} />
    </div>
  );
}

const KINDS = { timeseries: Lines, stat: Numbers, bargauge: Bars, table: Rows, 'status-history': History };

export function Body(props) {
  const { panel, frames } = props;
  const Kind = KINDS[panel.type];
  if (!Kind) throw new Error(`${panel.title}: no way to draw ${panel.type}`);
  return frames.some((frame) => frame.length > 0) ? <Kind {...props} /> : <Nothing {...props} />;
}
