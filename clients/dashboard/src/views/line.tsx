import { useId, useMemo, useState } from "preact/hooks";
import type { LineView, Range, Value } from "../api/types";
import { align, sampleAt } from "../figure/align";
import { seriesToken } from "../figure/colours";
import type { Column } from "../figure/data-table";
import { Plot, type PlotSeries } from "../figure/plot";
import { place, type Reading, Readout } from "../figure/readout";
import { number, plural } from "../format";
import { Card, Toggle } from "../run/card";
import type { Figure } from "../run/figure";
import { PathPlot } from "./path";

/** Computed curves solid in their colour, expected ones dashed on top. */
export function looks(names: string[]): PlotSeries[] {
  return names.map((label, i) => {
    const expected = label.startsWith("expected");
    const colour = seriesToken(i);
    return expected ? { label, colour, width: 1.5, dash: [6, 4] } : { label, colour, width: 2 };
  });
}

function smallest(values: Value[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (const value of values) if (value !== null && value < least) least = value;
  return least;
}

function span(range: Range | null): string {
  return range ? `${number(range[0])} to ${number(range[1])}` : "nothing";
}

export function LineFigure({ figure }: { figure: Figure<LineView> }) {
  const { view, zoom, title } = figure;
  const [residual, setResidual] = useState(false);
  const [log, setLog] = useState(false);
  const [cursor, setCursor] = useState<number | null>(null);
  const group = useId();
  const { series } = view;
  const data = useMemo(() => align(series), [series]);
  const names = series.map((one) => one.name).join("\n");
  const styles = useMemo(() => looks(names.split("\n")), [names]);
  const rest = view.residual;
  const restData = useMemo(() => (rest ? align([rest]) : null), [rest]);
  const restStyle = useMemo<PlotSeries[]>(
    () => [{ label: "residual", colour: seriesToken(2), width: 1.5 }],
    [],
  );
  const positive = series.every((one) => smallest(one.y) > 0);
  const x = view.labels?.x || "x";
  const y = view.labels?.y || "";
  const window = zoom.window?.x ?? view.x_range ?? view.window;
  const zoomInto = (range: Range) => zoom.into({ x: range });
  const at = cursor === null ? null : (data[0][cursor] ?? null);
  const readings: Reading[] = series.map((one, i) => ({
    label: one.name,
    colour: seriesToken(i),
    look: one.name.startsWith("expected") ? "dash" : "line",
    value: at === null ? undefined : sampleAt(one, at),
  }));
  if (residual && rest) {
    readings.push({
      label: "residual",
      colour: seriesToken(2),
      value: at === null ? undefined : sampleAt(rest, at),
    });
  }
  const bad = series.reduce(
    (sum, one) => sum + (one.nonfinite?.nan ?? 0) + (one.nonfinite?.inf ?? 0),
    0,
  );
  const coefficients = view.coefficients;
  const size = coefficients
    ? plural(coefficients.values.length + (coefficients.more ?? 0), "coefficient")
    : plural(view.n, "point");
  const facts = [size, bad ? `${plural(bad, "value")} not finite` : ""];
  const table = (): Column[] => [
    { name: x, values: data[0] },
    ...series.map((one, i) => ({ name: one.name, values: (data[i + 1] ?? []) as Value[] })),
  ];
  return (
    <Card
      figure={figure}
      facts={facts.filter(Boolean).join(", ")}
      table={table}
      tools={
        <>
          {rest && (
            <Toggle pressed={residual} onToggle={setResidual}>
              Residual
            </Toggle>
          )}
          <Toggle
            pressed={log && positive}
            onToggle={setLog}
            disabled={!positive}
            title={positive ? "Logarithmic scale of y" : "Values at or below 0 have no logarithm"}
          >
            Log
          </Toggle>
        </>
      }
    >
      <Readout at={place(x, at, view.x_is_time)} readings={readings} />
      {y && <p class="axis-title">{y}</p>}
      {view.ordered === false ? (
        <PathPlot
          name={`Curve of ${title}: ${x} from ${span(view.x_range)}, ${y || "y"} from ${span(view.y_range)}`}
          series={series}
          x={view.x_range}
          y={view.y_range}
          xTitle={x}
        />
      ) : (
        <Plot
          name={`Line plot of ${title}: ${series.map((one) => one.name).join(" and ")}, ${x} from ${span(window)}, values from ${span(view.y_range)}`}
          data={data}
          series={styles}
          height={300}
          window={window}
          xLabel={residual && rest ? undefined : x}
          hideX={false}
          log={log && positive}
          group={group}
          onZoom={zoomInto}
          onBack={zoom.back}
          onCursor={setCursor}
          time={view.x_is_time}
        />
      )}
      {residual && rest && restData && (
        <>
          <p class="axis-title">
            residual, largest {number(rest.max_abs)}, r.m.s. {number(rest.rms)}
          </p>
          <Plot
            name={`Residual of ${title}: largest ${number(rest.max_abs)}, root mean square ${number(rest.rms)}`}
            data={restData}
            series={restStyle}
            height={130}
            window={window}
            xLabel={x}
            group={group}
            onZoom={zoomInto}
            onBack={zoom.back}
          />
        </>
      )}
      {view.coefficients && (
        <details class="fold">
          <summary>
            {plural(view.coefficients.values.length + (view.coefficients.more ?? 0), "coefficient")}{" "}
            ({view.coefficients.convention})
          </summary>
          <p class="numbers">
            {view.coefficients.values.map((value) => number(value, 6)).join(",  ")}
          </p>
        </details>
      )}
    </Card>
  );
}
