import { useEffect, useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { getView } from "../api/client";
import type { EnsembleView, Histogram, Range } from "../api/types";
import { nearestIndex } from "../figure/align";
import { Bars } from "../figure/bars";
import { Plot, type PlotBand, type PlotSeries } from "../figure/plot";
import { place, type Reading, Readout } from "../figure/readout";
import { number, plural } from "../format";
import { Card, Toggle } from "../run/card";
import type { Figure } from "../run/figure";

const cursorRests = 120;

interface Drawing {
  data: uPlot.AlignedData;
  series: PlotSeries[];
  bands: PlotBand[];
}

function arrange(view: EnsembleView, samples: boolean): Drawing {
  const columns: (number | null)[][] = [];
  const series: PlotSeries[] = [];
  const bands: PlotBand[] = [];
  const add = (values: (number | null)[], look: PlotSeries) => {
    columns.push(values);
    series.push(look);
    return columns.length;
  };
  const edge = (label: string): PlotSeries => ({
    label,
    colour: "series-1",
    width: 0.5,
    alpha: 0.35,
  });
  // The widest band first, so that the narrower one lies on it.
  for (const band of [...view.bands].sort((a, b) => b.level - a.level)) {
    const percent = Math.round(band.level * 100);
    const upper = add(band.upper, edge(`${percent} % upper`));
    const lower = add(band.lower, edge(`${percent} % lower`));
    bands.push({
      between: [upper, lower],
      colour: "series-1",
      alpha: band.level > 0.6 ? 0.13 : 0.2,
    });
  }
  if (samples) {
    for (const path of view.samples) {
      add(path.y, { label: `path ${path.index}`, colour: "ink-2", width: 1, alpha: 0.28 });
    }
  }
  add(view.median, { label: "median", colour: "series-1", width: 2.25 });
  add(view.mean, { label: "mean", colour: "series-2", width: 1.5, dash: [6, 4] });
  const { given } = view;
  for (const key of ["mean", "lower", "upper"] as const) {
    const values = given?.[key];
    if (values)
      add(values, { label: `given ${key}`, colour: "series-4", width: 1.25, dash: [2, 3] });
  }
  return { data: [view.t, ...columns], series, bands };
}

/** The distribution at the cursor, computed by the server from all paths. */
function useHistogramAt(view: EnsembleView, t: number | null): Histogram | null {
  const [found, setFound] = useState<Histogram | null>(null);
  useEffect(() => {
    if (t === null) {
      setFound(null);
      return;
    }
    const abort = new AbortController();
    const timer = window.setTimeout(async () => {
      try {
        const options = { width: 64, height: 64, at: [t] };
        const answer = await getView(view.result_id, options, abort.signal);
        if (answer.kind === "ensemble") setFound(answer.histograms[0] ?? null);
      } catch {
        // The five distributions below stay; the cursor's own comes with the next move.
      }
    }, cursorRests);
    return () => {
      window.clearTimeout(timer);
      abort.abort();
    };
  }, [view.result_id, t]);
  return found;
}

export function EnsembleFigure({ figure }: { figure: Figure<EnsembleView> }) {
  const { view, zoom, title } = figure;
  const [samples, setSamples] = useState(true);
  const [cursor, setCursor] = useState<number | null>(null);
  const { data, series, bands } = useMemo(() => arrange(view, samples), [view, samples]);
  const styles = useMemo(() => series, [JSON.stringify(series)]);
  const fills = useMemo(() => bands, [JSON.stringify(bands)]);
  const x = view.labels?.x || "t";
  const y = view.labels?.y || "";
  const window = zoom.window?.x ?? view.t_range ?? view.window;
  const t = cursor === null ? null : (view.t[cursor] ?? null);
  const atCursor = useHistogramAt(view, t);
  const index = t === null ? -1 : nearestIndex(view.t, t);
  const of = (values: (number | null)[] | undefined) =>
    t === null ? undefined : (values?.[index] ?? null);
  const readings: Reading[] = [
    { label: "median", colour: "series-1", value: of(view.median) },
    { label: "mean", colour: "series-2", look: "dash", value: of(view.mean) },
  ];
  for (const band of [...view.bands].sort((a, b) => a.level - b.level)) {
    const text = `${Math.round(band.level * 100)} %`;
    const reading: Reading = {
      label: text,
      colour: band.level > 0.6 ? "band-wide" : "band-narrow",
      look: "band",
    };
    if (index >= 0) reading.range = [band.lower[index] ?? null, band.upper[index] ?? null];
    readings.push(reading);
  }
  const given = view.given && (view.given.mean ?? view.given.lower ?? view.given.upper);
  if (given) readings.push({ label: "given", colour: "series-4", look: "dash" });
  const shown = atCursor ? [...view.histograms, atCursor] : view.histograms;
  const low = Math.min(...shown.map((one) => one.edges[0] ?? 0));
  const high = Math.max(...shown.map((one) => one.edges.at(-1) ?? 0));
  const table = () => [
    { name: x, values: view.t },
    { name: "median", values: view.median },
    { name: "mean", values: view.mean },
    ...view.bands.flatMap((band) => [
      { name: `${band.level * 100} % lower`, values: band.lower },
      { name: `${band.level * 100} % upper`, values: band.upper },
    ]),
  ];
  return (
    <Card
      figure={figure}
      facts={`${plural(view.n_paths, "path")}, ${plural(view.n_times, "time")}`}
      table={table}
      tools={
        view.samples.length > 0 && (
          <Toggle pressed={samples} onToggle={setSamples} title="Some of the paths themselves">
            {view.samples.length} paths
          </Toggle>
        )
      }
    >
      <Readout at={place(x, t, view.x_is_time)} readings={readings} />
      {y && <p class="axis-title">{y}</p>}
      <Plot
        name={`Ensemble of ${title}: median, mean, 50 and 90 percent bands of ${plural(view.n_paths, "path")} over ${x}, values from ${number(view.y_range?.[0])} to ${number(view.y_range?.[1])}`}
        data={data}
        series={styles}
        bands={fills}
        height={300}
        window={window}
        xLabel={x}
        onZoom={(range: Range) => zoom.into({ x: range })}
        onBack={zoom.back}
        onCursor={setCursor}
        time={view.x_is_time}
      />
      {view.histograms.length > 0 && (
        <section class="distributions" aria-label={`Distributions of ${title}`}>
          {view.histograms.map((histogram) => (
            <Bars
              key={histogram.t}
              histogram={histogram}
              label={`${x} = ${number(histogram.t)}`}
              range={[low, high]}
            />
          ))}
          <Bars
            histogram={atCursor}
            label={atCursor ? `${x} = ${number(atCursor.t)}` : "at the cursor"}
            range={[low, high]}
            marked
          />
        </section>
      )}
    </Card>
  );
}
