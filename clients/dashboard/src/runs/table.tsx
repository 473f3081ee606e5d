// The rows in sight, and empty room for the others: the page stays light with
// any number of runs.

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Run } from "../api/types";
import { plural } from "../format";
import { Row } from "./row";
import { runList, type Snapshot } from "./store";

const narrow = window.matchMedia("(max-width: 719px)");
const spare = 12;
const handRestsAfter = 3_000;

function useRowHeight(): number {
  const [height, setHeight] = useState(narrow.matches ? 68 : 40);
  useEffect(() => {
    const onChange = () => setHeight(narrow.matches ? 68 : 40);
    narrow.addEventListener("change", onChange);
    return () => narrow.removeEventListener("change", onChange);
  }, []);
  return height;
}

/** First and last row in sight. */
function useWindow(
  body: { current: HTMLElement | null },
  rowHeight: number,
  rows: number,
): [number, number] {
  const [range, setRange] = useState<[number, number]>([0, 40]);
  const measure = useCallback(() => {
    const top = body.current?.getBoundingClientRect().top ?? 0;
    const first = Math.max(0, Math.floor(-top / rowHeight) - spare);
    const last = Math.min(rows, Math.ceil((window.innerHeight - top) / rowHeight) + spare);
    setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
    if (last + 30 >= rows) void runList.more();
  }, [body, rowHeight, rows]);
  useLayoutEffect(measure, [measure]);
  useEffect(() => {
    window.addEventListener("scroll", measure, { passive: true });
    window.addEventListener("resize", measure);
    return () => {
      window.removeEventListener("scroll", measure);
      window.removeEventListener("resize", measure);
    };
  }, [measure]);
  return range;
}

/** Keeps the order still while the reader's hand or keyboard is on the list. */
function useHold(table: { current: HTMLElement | null }): void {
  useEffect(() => {
    let movedAt = Number.NEGATIVE_INFINITY;
    const onMove = () => {
      movedAt = performance.now();
      decide();
    };
    const decide = () => {
      const element = table.current;
      const pointing = performance.now() - movedAt < handRestsAfter && element?.matches(":hover");
      const focused = element?.querySelector(":focus-visible") != null;
      const asking = document.querySelector("dialog[open]") !== null;
      runList.hold(Boolean(window.scrollY > 8 || pointing || focused || asking));
    };
    const timer = window.setInterval(decide, 500);
    const element = table.current;
    element?.addEventListener("pointermove", onMove, { passive: true });
    window.addEventListener("scroll", decide, { passive: true });
    return () => {
      window.clearInterval(timer);
      element?.removeEventListener("pointermove", onMove);
      window.removeEventListener("scroll", decide);
      runList.hold(false);
    };
  }, [table]);
}

const heads: [string, string][] = [
  ["cell-status", "Status"],
  ["cell-name", "Name"],
  ["cell-equation", "Equation"],
  ["cell-circuit", "Circuit"],
  ["cell-results", "Results"],
  ["cell-started", "Started"],
  ["cell-took", "Took"],
];

export function Table({ list, onDelete }: { list: Snapshot; onDelete: (run: Run) => void }) {
  const table = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLDivElement>(null);
  const [current, setCurrent] = useState(0);
  const rowHeight = useRowHeight();
  const { runs } = list;
  const [first, last] = useWindow(body, rowHeight, runs.length);
  useHold(table);

  const move = (to: number) => {
    const index = Math.max(0, Math.min(runs.length - 1, to));
    setCurrent(index);
    const top = body.current?.getBoundingClientRect().top ?? 0;
    const y = top + index * rowHeight;
    if (y < 100) window.scrollBy(0, y - 100);
    if (y + rowHeight > window.innerHeight) window.scrollBy(0, y + rowHeight - window.innerHeight);
    requestAnimationFrame(() => {
      const row = body.current?.querySelector(`[aria-rowindex="${index + 2}"] a`);
      (row as HTMLElement | null)?.focus({ preventScroll: true });
    });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(window.innerHeight / rowHeight) - 2);
    const steps: Record<string, number> = {
      ArrowDown: current + 1,
      j: current + 1,
      ArrowUp: current - 1,
      k: current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: runs.length - 1,
    };
    const to = steps[event.key];
    const run = runs[current];
    if (to !== undefined) {
      event.preventDefault();
      move(to);
    } else if (event.key === "Delete" && run) {
      onDelete(run);
    }
  };

  const shown = runs.slice(first, last);
  const faded = list.phase === "loading" && runs.length > 0;
  return (
    <>
      {list.waiting > 0 && (
        <button
          type="button"
          class="pill"
          onClick={() => {
            runList.release();
            window.scrollTo(0, 0);
          }}
        >
          {plural(list.waiting, "new run")}
        </button>
      )}
      {/* biome-ignore-start lint/a11y/useFocusableInteractive: the links inside the rows take the focus */}
      <div
        ref={table}
        role="table"
        class={`runs${faded ? " faded" : ""}`}
        aria-label="Runs, newest first"
        aria-rowcount={list.hasMore ? -1 : runs.length + 1}
        aria-busy={list.phase === "loading"}
        onKeyDown={onKeyDown}
      >
        <div role="row" class="row head" aria-rowindex={1}>
          {heads.map(([name, text]) => (
            <div role="columnheader" class={name} key={name}>
              {text}
            </div>
          ))}
          <div role="columnheader" class="cell-actions">
            <span class="unseen">Actions</span>
          </div>
        </div>
        <div
          ref={body}
          role="rowgroup"
          class="rows"
          style={{
            paddingTop: `${first * rowHeight}px`,
            paddingBottom: `${Math.max(0, runs.length - last) * rowHeight}px`,
          }}
        >
          {shown.map((run, i) => (
            <Row
              key={run.id}
              run={run}
              index={first + i}
              fresh={list.fresh.has(run.id)}
              gone={list.gone.has(run.id)}
              current={first + i === Math.min(Math.max(current, first), last - 1)}
              onFocus={setCurrent}
              onDelete={onDelete}
            />
          ))}
        </div>
      </div>
      {/* biome-ignore-end lint/a11y/useFocusableInteractive: as above */}
      {list.loadingMore && <p class="list-foot">Reading more runs…</p>}
      {list.problem && list.phase === "ready" && (
        <p class="list-foot" role="alert">
          More runs could not be read: {list.problem.message}.{" "}
          <button type="button" class="button" onClick={() => void runList.more()}>
            Try again
          </button>
        </p>
      )}
    </>
  );
}
