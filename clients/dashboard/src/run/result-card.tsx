import { useEffect, useRef, useState } from "preact/hooks";
import type { Result, ViewOptions } from "../api/types";
import { Drawing } from "../views/drawing";
import { useZoom } from "./figure";
import { useView } from "./use-view";

/** Whether the element is, or is about to be, in sight; and its width. */
function useSight(element: { current: HTMLElement | null }): [boolean, number] {
  const [seen, setSeen] = useState(false);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const target = element.current;
    if (!target) return;
    const sight = new IntersectionObserver(
      (entries) => setSeen(entries.some((entry) => entry.isIntersecting)),
      { rootMargin: "300px 0px" },
    );
    // In steps, so that a window being resized does not ask anew at each pixel.
    const size = new ResizeObserver(() => setWidth(Math.ceil(target.clientWidth / 100) * 100));
    sight.observe(target);
    size.observe(target);
    return () => {
      sight.disconnect();
      size.disconnect();
    };
  }, [element]);
  return [seen, width];
}

function optionsOf(width: number, zoom: ReturnType<typeof useZoom>, layer: string): ViewOptions {
  const density = Math.min(2, window.devicePixelRatio || 1);
  const options: ViewOptions = {
    width: Math.min(4_096, Math.round(width * density)),
    height: Math.round(400 * density),
  };
  if (zoom.window) {
    [options.x_min, options.x_max] = zoom.window.x;
    if (zoom.window.y) [options.y_min, options.y_max] = zoom.window.y;
  }
  if (layer) options.layer = layer;
  return options;
}

interface Props {
  result: Result;
  version: number;
  live: boolean;
}

export function titleOf(result: Result): string {
  const title = result.display?.["title"];
  return typeof title === "string" && title.trim() ? title : result.result_type;
}

export function ResultCard({ result, version, live }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const [seen, width] = useSight(host);
  const zoom = useZoom();
  const [layer, setLayer] = useState("");
  const options = optionsOf(width, zoom, layer);
  const { view, problem, pending, retry } = useView(result.id, options, version, seen && width > 0);
  const title = view?.title || titleOf(result);
  return (
    <div ref={host} class="card-place">
      {view ? (
        <Drawing
          figure={{ view, result, title, zoom, layer, setLayer, live, pending, problem, retry }}
        />
      ) : (
        <article class="card" data-result={result.id} aria-busy={!problem}>
          <header class="card-head">
            <div class="card-title">
              <h2>{title}</h2>
              <p>
                <span class="type">{result.result_type}</span>
              </p>
            </div>
          </header>
          {problem ? (
            <div class="card-failed" role="alert">
              <p>
                <strong>This result could not be drawn.</strong>
              </p>
              <p>
                {problem.message}.{problem.requestId && ` Request ${problem.requestId}.`}
              </p>
              <button type="button" class="button" onClick={retry}>
                Try again
              </button>
            </div>
          ) : (
            <div class="card-wait">
              <span>Reading…</span>
            </div>
          )}
        </article>
      )}
    </div>
  );
}
