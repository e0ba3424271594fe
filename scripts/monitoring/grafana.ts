/** What a dashboard shows, before Grafana's own words are put around it. */
export interface Dashboard {
  /** Names the file, and the dashboard in URLs. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly Row[];
  /** Whether it can be narrowed down to tenants and workflows. */
  readonly byWorkflow?: boolean;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export interface Panel {
  readonly title: string;
  /** What to make of it. */
  readonly about: string;
  /** A unit of Grafana: `s`, `reqps`, `percentunit`, `bytes`, `short`. */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** `stat` shows the last value large, with the bounds' colours. */
  readonly kind?: 'timeseries' | 'stat';
  /** Of 24 columns. */
  readonly width?: number;
  /** From here on it is orange, and red. */
  readonly bounds?: readonly [warning: number, critical: number];
}

export interface Query {
  readonly expr: string;
  readonly legend: string;
}

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' } as const;
const WIDTH = 24;
const PANEL_HEIGHT = 8;
const STAT_HEIGHT = 4;
const SCHEMA_VERSION = 39;

/** The JSON model of Grafana 10 and later: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/ */
export function grafanaModel(dashboard: Dashboard): Readonly<Record<string, unknown>> {
  const panels: unknown[] = [];
  let y = 0;
  for (const { title, panels: shown } of dashboard.rows) {
    panels.push({ type: 'row', title, collapsed: false, panels: [], gridPos: { x: 0, y, w: WIDTH, h: 1 } });
    y += 1;
    let x = 0;
    let height = 0;
    for (const panel of shown) {
      const w = panel.width ?? 8;
      const h = panel.kind === 'stat' ? STAT_HEIGHT : PANEL_HEIGHT;
      if (x + w > WIDTH) {
        x = 0;
        y += height;
        height = 0;
      }
      panels.push(panelModel(panel, { x, y, w, h }));
      x += w;
      height = Math.max(height, h);
    }
    y += height;
  }
  return {
    uid: `millrace-${dashboard.name}`,
    title: dashboard.title,
    description: dashboard.description,
    tags: ['millrace'],
    schemaVersion: SCHEMA_VERSION,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    templating: { list: variables(dashboard) },
    links: [
      {
        type: 'dashboards',
        title: 'Millrace',
        tags: ['millrace'],
        asDropdown: true,
        includeVars: true,
        keepTime: true,
      },
    ],
    panels: panels.map((panel, index) => ({ id: index + 1, ...(panel as object) })),
  };
}

function panelModel(
  panel: Panel,
  gridPos: Readonly<Record<string, number>>,
): Readonly<Record<string, unknown>> {
  const { kind = 'timeseries', bounds } = panel;
  const steps = [
    { color: 'green', value: null },
    ...(bounds === undefined
      ? []
      : [
          { color: 'orange', value: bounds[0] },
          { color: 'red', value: bounds[1] },
        ]),
  ];
  return {
    type: kind,
    title: panel.title,
    description: panel.about,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        min: 0,
        thresholds: { mode: 'absolute', steps },
        ...(kind === 'timeseries' && {
          custom: {
            lineWidth: 1,
            fillOpacity: 10,
            showPoints: 'never',
            thresholdsStyle: { mode: bounds ? 'dashed' : 'off' },
          },
        }),
      },
      overrides: [],
    },
    options:
      kind === 'stat'
        ? {
            reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
            colorMode: 'background',
            graphMode: 'area',
          }
        : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: panel.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCodePoint(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      exemplar: expr.includes('_bucket'),
    })),
  };
}

function variables(dashboard: Dashboard): readonly unknown[] {
  const labels = (name: string, query: string) => ({
    name,
    label: name,
    type: 'query',
    datasource: DATASOURCE,
    query: { query, refId: name },
    definition: query,
    refresh: 2,
    includeAll: true,
    multi: true,
    // Also where the label is missing, as on one machine.
    allValue: '.*',
    current: { text: 'All', value: '$__all' },
    sort: 1,
  });
  return [
    {
      name: 'datasource',
      label: 'data source',
      type: 'datasource',
      query: 'prometheus',
      current: {},
      hide: 0,
    },
    labels('namespace', 'label_values(millrace_build_info, namespace)'),
    ...(dashboard.byWorkflow
      ? [
          labels('tenant', 'label_values(millrace_executions_total{namespace=~"$namespace"}, tenant)'),
          labels(
            'workflow',
            'label_values(millrace_executions_total{namespace=~"$namespace",tenant=~"$tenant"}, workflow)',
          ),
        ]
      : []),
  ];
}
