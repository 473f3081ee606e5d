import { useMemo, useState } from "preact/hooks";
import type { Range, StepsView, Value } from "../api/types";
import { align, sampleAt } from "../figure/align";
import { seriesToken } from "../figure/colours";
import type { Column } from "../figure/data-table";
import { Plot } from "../figure/plot";
import { place, type Reading, Readout } from "../figure/readout";
import { number, plural } from "../format";
import { Card, Toggle } from "../run/card";
import type { Figure } from "../run/figure";
import { looks } from "./line";

export function StepsFigure({ figure }: { figure: Figure<StepsView> }) {
  const { view, zoom, title } = figure;
  const [log, setLog] = useState(false);
  const [cursor, setCursor] = useState<number | null>(null);
  const { series } = view;
  const data = useMemo(() => align(series), [series]);
  const names = series.map((one) => one.name).join("\n");
  const styles = useMemo(
    () => looks(names.split("\n")).map((look) => ({ ...look, stepped: true })),
    [names],
  );
  const positive = series.every((one) => one.y.every((value) => value === null || value > 0));
  const x = view.labels?.x || "n";
  const y = view.labels?.y || "";
  const window = zoom.window?.x ?? view.x_range ?? view.window;
  const at = cursor === null ? null : (data[0][cursor] ?? null);
  const readings: Reading[] = series.map((one, i) => ({
    label: one.name,
    colour: seriesToken(i),
    look: one.name.startsWith("expected") ? "dash" : "line",
    value: at === null ? undefined : sampleAt(one, at),
  }));
  const low = view.y_range?.[0] ?? null;
  const high = view.y_range?.[1] ?? null;
  const table = (): Column[] => [
    { name: x, values: data[0] },
    ...series.map((one, i) => ({ name: one.name, values: (data[i + 1] ?? []) as Value[] })),
  ];
  return (
    <Card
      figure={figure}
      facts={plural(view.n_total, "step")}
      table={table}
      tools={
        <Toggle
          pressed={log && positive}
          onToggle={setLog}
          disabled={!positive}
          title={positive ? "Logarithmic scale of y" : "Values at or below 0 have no logarithm"}
        >
          Log
        </Toggle>
      }
    >
      <Readout at={place(x, at, view.x_is_time)} readings={readings} />
      {y && <p class="axis-title">{y}</p>}
      <Plot
        name={`Step plot of ${title}: ${plural(view.n_total, "step")}, values from ${number(low)} to ${number(high)}`}
        data={data}
        series={styles}
        height={300}
        window={window}
        xLabel={x}
        log={log && positive}
        onZoom={(range: Range) => zoom.into({ x: range })}
        onBack={zoom.back}
        onCursor={setCursor}
        time={view.x_is_time}
      />
    </Card>
  );
}
