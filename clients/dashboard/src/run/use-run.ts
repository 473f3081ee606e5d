// One run and its results, kept true to the server.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { asProblem, getRun, isAbort, listResults, type Problem } from "../api/client";
import type { Result, Run } from "../api/types";
import { updates } from "../api/updates";

export interface RunState {
  run: Run | null;
  results: Result[];
  hasMore: boolean;
  /** How often each result has changed since the page was opened. */
  versions: ReadonlyMap<string, number>;
  problem: Problem | null;
  /** Deleted while it was being looked at. */
  deleted: boolean;
}

const pageSize = 50;
const mostAtOnce = 1_000;
const liveFor = 60_000;
const nothing: RunState = {
  run: null,
  results: [],
  hasMore: false,
  versions: new Map(),
  problem: null,
  deleted: false,
};

export function useRun(runId: string) {
  const [state, setState] = useState<RunState>(nothing);
  const latest = useRef(state);
  latest.current = state;
  const token = useRef("");
  const heardAt = useRef(performance.now());

  const read = useCallback(
    async (what: "run" | "all", signal: AbortSignal) => {
      try {
        if (what === "run") {
          const run = await getRun(runId, signal);
          setState((old) => ({ ...old, run, problem: null }));
          return;
        }
        const size = Math.min(mostAtOnce, Math.max(pageSize, latest.current.results.length + 1));
        const [run, page] = await Promise.all([
          getRun(runId, signal),
          listResults(runId, "", size, signal),
        ]);
        token.current = page.next_page_token ?? "";
        setState((old) => ({
          ...old,
          run,
          results: page.results,
          hasMore: token.current !== "",
          problem: null,
          deleted: false,
        }));
      } catch (error) {
        if (isAbort(error)) return;
        const problem = asProblem(error);
        // What is on the screen stays; a run that went away is said so.
        setState((old) => {
          if (problem.isMissing && old.run) return { ...old, deleted: true };
          return old.run ? old : { ...old, problem };
        });
      }
    },
    [runId],
  );

  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let wanted: "run" | "all" | null = null;
    let working = false;
    setState(nothing);
    // One read at a time; what comes meanwhile is read once, afterwards.
    const want = async (what: "run" | "all") => {
      wanted = wanted === "all" ? "all" : what;
      if (working) return;
      working = true;
      while (wanted !== null && !abort.signal.aborted) {
        const next: "run" | "all" = wanted;
        wanted = null;
        await read(next, abort.signal);
      }
      working = false;
    };
    void want("all");
    const stop = updates.listen((batch) => {
      const grown: string[] = [];
      const removed: string[] = [];
      let what: "run" | "all" | null = batch.resync ? "all" : null;
      for (const change of batch.changes) {
        const about = change.object_type === "run" ? change.object_id : change.run_id;
        if (about !== runId) continue;
        heardAt.current = performance.now();
        if (change.object_type === "run") {
          if (change.type === "delete") setState((old) => ({ ...old, deleted: true }));
          else what ??= "run";
        } else if (change.type === "delete") {
          removed.push(change.object_id);
        } else if (latest.current.results.some((result) => result.id === change.object_id)) {
          grown.push(change.object_id);
        } else {
          what = "all";
        }
      }
      if (batch.resync) grown.push(...latest.current.results.map((result) => result.id));
      if (grown.length || removed.length) {
        setState((old) => {
          const versions = new Map(old.versions);
          for (const id of grown) versions.set(id, (versions.get(id) ?? 0) + 1);
          const results = old.results.filter((result) => !removed.includes(result.id));
          return { ...old, versions, results };
        });
      }
      if (what) void want(what);
    });
    const timer = window.setInterval(() => {
      const silent = performance.now() - heardAt.current > liveFor;
      const { run } = latest.current;
      if (silent && run?.live && !run.status) {
        setState((old) => (old.run ? { ...old, run: { ...old.run, live: false } } : old));
      }
    }, 5_000);
    return () => {
      stop();
      abort.abort();
      window.clearInterval(timer);
    };
  }, [runId, read, attempt]);

  const more = useCallback(async () => {
    if (!token.current) return;
    const asked = token.current;
    token.current = "";
    try {
      const page = await listResults(runId, asked, pageSize);
      token.current = page.next_page_token ?? "";
      setState((old) => {
        const known = new Set(old.results.map((result) => result.id));
        const added = page.results.filter((result) => !known.has(result.id));
        return { ...old, results: [...old.results, ...added], hasMore: token.current !== "" };
      });
    } catch {
      token.current = asked;
    }
  }, [runId]);

  return { ...state, more, retry: () => setAttempt((old) => old + 1) };
}
