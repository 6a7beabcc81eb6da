// What deploy/grafana/counterd.json has to be, in the types of Grafana's own schema. The test puts the dashboard
// behind this as `export const dashboard: WatchedDashboard = …` and has the compiler look at it: a field that the
// schema does not know is an error, as is a value that does not fit.

import type { AnnotationQuery, Dashboard, DataSourceRef, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as SeriesField,
  Options as SeriesOptions,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// A type as JSON has it: the words and numbers of an enum in place of the enum.
type Json<T> = T extends string
  ? `${T}`
  : T extends number
    ? number
    : T extends Array<infer U>
      ? Json<U>[]
      : T extends object
        ? { [K in keyof T]: Json<T[K]> }
        : T;

// The query of the data source for Prometheus, which brings its types with itself.
interface PrometheusQuery {
  refId: string;
  datasource: DataSourceRef;
  expr: string;
  legendFormat: string;
  editorMode: 'code';
  instant?: boolean;
  range: boolean;
}

// `value` of the first step of a threshold is null: below all others. The schema's type cannot say so.
interface Thresholds {
  mode: 'absolute' | 'percentage';
  steps: { value: number | null; color: string }[];
}

interface Shown<Field> {
  defaults: Omit<Json<NonNullable<Panel['fieldConfig']>['defaults']>, 'custom' | 'thresholds'> & {
    custom?: Json<Field>;
    thresholds?: Thresholds;
  };
  overrides: [];
}

type Plain = Required<Pick<Panel, 'id' | 'title' | 'gridPos' | 'datasource'>> & Pick<Panel, 'description'>;

interface StatPanel extends Plain {
  type: 'stat';
  fieldConfig: Shown<never>;
  options: Json<StatOptions>;
  targets: PrometheusQuery[];
}

interface SeriesPanel extends Plain {
  type: 'timeseries';
  fieldConfig: Shown<SeriesField>;
  options: Json<SeriesOptions>;
  targets: PrometheusQuery[];
}

// What the data source for Prometheus reads of an annotation.
type Annotation = Json<AnnotationQuery> & { expr: string; step: string; titleFormat: string; textFormat: string };

type WatchedDashboard = Omit<Json<Dashboard>, 'annotations' | 'panels' | 'templating'> & {
  annotations: { list: Annotation[] };
  templating: { list: Json<VariableModel>[] };
  panels: (StatPanel | SeriesPanel | Json<RowPanel>)[];
};
