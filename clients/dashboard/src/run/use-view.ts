import { useEffect, useRef, useState } from "preact/hooks";
import { asProblem, getView, isAbort, type Problem } from "../api/client";
import type { View, ViewOptions } from "../api/types";

interface State {
  view: View | null;
  problem: Problem | null;
  pending: boolean;
}

const gesturePause = 100;

/**
 * The view of a result for some options. The last view stays while a newer one
 * is read. Other options stop what is under way; a newer version of the result
 * waits for it, so that a fast writer cannot starve the figure.
 */
export function useView(
  resultId: string,
  options: ViewOptions,
  version: number,
  enabled: boolean,
): State & { retry: () => void } {
  const [state, setState] = useState<State>({ view: null, problem: null, pending: false });
  const [attempt, setAttempt] = useState(0);
  const flight = useRef<{ key: string; abort: AbortController } | null>(null);
  const done = useRef("");
  const wanted = useRef("");
  const beganAt = useRef(Number.NEGATIVE_INFINITY);
  const key = JSON.stringify(options);
  const goal = `${key} ${version} ${attempt}`;
  wanted.current = goal;

  useEffect(() => {
    if (!enabled || done.current === goal) return;
    let timer = 0;
    const read = async () => {
      const abort = new AbortController();
      flight.current = { key, abort };
      beganAt.current = performance.now();
      const target = wanted.current;
      setState((old) => ({ ...old, pending: true }));
      try {
        const view = await getView(resultId, options, abort.signal);
        flight.current = null;
        done.current = target;
        setState({ view, problem: null, pending: false });
      } catch (error) {
        if (isAbort(error)) return;
        flight.current = null;
        done.current = target;
        setState((old) => ({ ...old, problem: asProblem(error), pending: false }));
      }
      if (wanted.current !== target && wanted.current.startsWith(key)) void read();
    };
    const current = flight.current;
    if (current?.key === key) return;
    current?.abort.abort();
    const wait = Math.max(0, beganAt.current + gesturePause - performance.now());
    timer = window.setTimeout(() => void read(), wait);
    return () => window.clearTimeout(timer);
  }, [resultId, goal, enabled]);

  useEffect(() => () => flight.current?.abort.abort(), []);

  return { ...state, retry: () => setAttempt((old) => old + 1) };
}
