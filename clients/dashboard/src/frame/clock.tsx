// Times that count on their own: one timer for the whole page.

import { useEffect, useState } from "preact/hooks";
import { ago, duration, isoLocal } from "../format";

const watchers = new Set<() => void>();
let timer = 0;

/** The time now, renewed each second while anything on the screen needs it. */
export function useNow(counting = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!counting) return;
    const watcher = () => setNow(Date.now());
    watchers.add(watcher);
    if (!timer) {
      timer = window.setInterval(() => {
        if (!document.hidden) for (const one of watchers) one();
      }, 1_000);
    }
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0) {
        window.clearInterval(timer);
        timer = 0;
      }
    };
  }, [counting]);
  return now;
}

export function Ago({ time }: { time: string }) {
  const now = useNow();
  const date = new Date(time);
  return (
    <time dateTime={time} title={isoLocal(date)}>
      {ago(date, now)}
    </time>
  );
}

/** From a start to an end, or to now while there is none. */
export function Elapsed({ from, to }: { from: string; to: string | null }) {
  const now = useNow(to === null);
  const end = to === null ? now : new Date(to).getTime();
  return <span>{duration(end - new Date(from).getTime())}</span>;
}
