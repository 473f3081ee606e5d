// The list of runs: pages as they are read, changes as they happen. It outlives
// the list page, so that going back to it is instant.

import { asProblem, getRun, isAbort, listRuns, type Problem } from "../api/client";
import type { Run } from "../api/types";
import { type Batch, updates } from "../api/updates";

const pageSize = 100;
const mostAtOnce = 1_000;
const fewEnoughToAskFor = 8;
const refreshEvery = 500;
const liveFor = 60_000;

/** Newest first, by time and then by id, as the server orders. */
function before(a: Run, b: Run): number {
  if (a.created_at !== b.created_at) return a.created_at > b.created_at ? -1 : 1;
  return a.id > b.id ? -1 : a.id < b.id ? 1 : 0;
}

export interface Snapshot {
  query: string;
  runs: Run[];
  /** Matching runs in all; the server stops counting behind 10,000. */
  total: number;
  phase: "loading" | "ready" | "failed";
  problem: Problem | null;
  loadingMore: boolean;
  hasMore: boolean;
  /** New runs held back while the reader's hand is on the list. */
  waiting: number;
  /** Runs that came while the page was open: drawn with a fading tint. */
  fresh: ReadonlySet<string>;
  /** Deleted elsewhere while the list is held still. */
  gone: ReadonlySet<string>;
}

class RunList {
  snapshot: Snapshot = {
    query: "",
    runs: [],
    total: 0,
    phase: "loading",
    problem: null,
    loadingMore: false,
    hasMore: false,
    waiting: 0,
    fresh: new Set(),
    gone: new Set(),
  };
  private readonly watchers = new Set<() => void>();
  private readonly held = new Map<string, Run>();
  private readonly heardAt = new Map<string, number>();
  private readonly seenResults = new Set<string>();
  private dirty = new Set<string>();
  private wantsRefresh = false;
  private working = false;
  private frozen = false;
  private nextToken = "";
  private abort: AbortController | null = null;
  private begun = false;

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /** Shows the runs that match, at once when they are those already held. */
  show(query: string): void {
    if (!this.begun) {
      this.begun = true;
      updates.listen((batch) => this.onBatch(batch));
      window.setInterval(() => this.endSilentRuns(), 5_000);
    } else if (query === this.snapshot.query) {
      this.wantsRefresh = true;
      void this.work();
      return;
    }
    void this.load(query);
  }

  retry(): void {
    void this.load(this.snapshot.query);
  }

  private set(change: Partial<Snapshot>): void {
    this.snapshot = { ...this.snapshot, ...change };
    for (const watcher of this.watchers) watcher();
  }

  private async load(query: string): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.held.clear();
    this.set({ query, phase: "loading", problem: null, waiting: 0, loadingMore: false });
    try {
      const page = await listRuns(query, "", pageSize, abort.signal);
      this.nextToken = page.next_page_token ?? "";
      this.set({
        runs: page.runs,
        total: page.total_size,
        phase: "ready",
        hasMore: this.nextToken !== "",
        fresh: new Set(),
        gone: new Set(),
      });
    } catch (error) {
      if (!isAbort(error)) this.set({ phase: "failed", problem: asProblem(error) });
    }
  }

  async more(): Promise<void> {
    const { query, loadingMore, phase } = this.snapshot;
    if (!this.nextToken || loadingMore || phase !== "ready") return;
    this.set({ loadingMore: true, problem: null });
    try {
      const page = await listRuns(query, this.nextToken, pageSize, this.abort?.signal);
      if (query !== this.snapshot.query) return;
      const known = new Set(this.snapshot.runs.map((run) => run.id));
      const added = page.runs.filter((run) => !known.has(run.id));
      this.nextToken = page.next_page_token ?? "";
      this.set({
        runs: [...this.snapshot.runs, ...added],
        total: page.total_size,
        loadingMore: false,
        hasMore: this.nextToken !== "",
      });
    } catch (error) {
      if (!isAbort(error)) this.set({ loadingMore: false, problem: asProblem(error) });
    }
  }

  /** While held still, nothing is inserted or taken away under the reader's hand. */
  hold(frozen: boolean): void {
    if (frozen === this.frozen) return;
    this.frozen = frozen;
    if (!frozen) this.release();
  }

  release(): void {
    const { gone, runs, fresh } = this.snapshot;
    if (this.held.size === 0 && gone.size === 0) return;
    const kept = runs.filter((run) => !gone.has(run.id) && !this.held.has(run.id));
    const merged = [...kept, ...this.held.values()].sort(before);
    const newer = new Set([...fresh, ...this.held.keys()]);
    this.held.clear();
    this.set({ runs: merged, waiting: 0, gone: new Set(), fresh: newer });
  }

  /** Deleted by the reader: gone at once. */
  forget(runId: string): void {
    this.take(runId, true);
  }

  private onBatch(batch: Batch): void {
    if (batch.resync) this.wantsRefresh = true;
    const now = performance.now();
    for (const change of batch.changes) {
      if (change.object_type === "run") {
        this.heardAt.set(change.object_id, now);
        if (change.type === "delete") this.take(change.object_id, !this.frozen);
        else this.dirty.add(change.object_id);
      } else if (change.run_id) {
        this.heardAt.set(change.run_id, now);
        // An append changes no number of the list: only the first sight of a result does.
        const added = change.type === "update" && !this.seenResults.has(change.object_id);
        if (added) this.seenResults.add(change.object_id);
        if (added || change.type === "delete") this.dirty.add(change.run_id);
      }
    }
    void this.work();
  }

  private async work(): Promise<void> {
    if (this.working) return;
    this.working = true;
    try {
      while (this.wantsRefresh || this.dirty.size > 0) {
        const ids = [...this.dirty];
        const known = new Set(this.snapshot.runs.map((run) => run.id));
        // Whether a new run matches the search, only the server can say.
        const unsure = this.snapshot.query !== "" && ids.some((id) => !known.has(id));
        this.dirty = new Set();
        if (this.wantsRefresh || unsure || ids.length > fewEnoughToAskFor) {
          this.wantsRefresh = false;
          await this.refresh();
          await new Promise((resolve) => window.setTimeout(resolve, refreshEvery));
        } else {
          const runs = await Promise.all(ids.map((id) => this.read(id)));
          this.put(runs.filter((run) => run !== null));
        }
      }
    } finally {
      this.working = false;
    }
  }

  private async read(runId: string): Promise<Run | null> {
    try {
      return await getRun(runId);
    } catch (error) {
      if (asProblem(error).isMissing) this.take(runId, !this.frozen);
      return null;
    }
  }

  /** Reads anew what is on the page, and tells what came and went from it. */
  private async refresh(): Promise<void> {
    const { query, runs: old, phase } = this.snapshot;
    if (phase === "loading") return;
    const size = Math.min(mostAtOnce, Math.max(pageSize, old.length));
    try {
      const page = await listRuns(query, "", size, this.abort?.signal);
      if (query !== this.snapshot.query) return;
      const last = page.runs.at(-1);
      const beyond = last && page.next_page_token ? old.filter((run) => before(last, run) < 0) : [];
      if (beyond.length === 0) this.nextToken = page.next_page_token ?? "";
      const present = new Set([...page.runs, ...beyond].map((run) => run.id));
      const missing = old.filter((run) => !present.has(run.id));
      this.set({
        phase: "ready",
        problem: null,
        total: page.total_size,
        hasMore: this.nextToken !== "",
      });
      for (const run of missing) this.take(run.id, !this.frozen, false);
      this.put(page.runs, page.total_size);
    } catch (error) {
      // The stream's own indicator tells of a server that is away.
      if (!isAbort(error) && phase === "failed") this.set({ problem: asProblem(error) });
    }
  }

  private put(read: Run[], total?: number): void {
    if (read.length === 0) return;
    const { runs, fresh } = this.snapshot;
    const changed = new Map(read.map((run) => [run.id, run]));
    const kept = runs.map((run) => {
      const now = changed.get(run.id);
      changed.delete(run.id);
      return now ?? run;
    });
    const last = runs.at(-1);
    const added = [...changed.values()].filter(
      (run) => !this.nextToken || !last || before(run, last) < 0,
    );
    const unknown = added.filter((run) => !this.held.has(run.id)).length;
    const count = total ?? this.snapshot.total + unknown;
    if (this.frozen) {
      for (const run of added) this.held.set(run.id, run);
      this.set({ runs: kept, total: count, waiting: this.held.size });
    } else {
      const newer = added.length ? new Set([...fresh, ...added.map((run) => run.id)]) : fresh;
      this.set({ runs: [...kept, ...added].sort(before), total: count, fresh: newer });
    }
  }

  private take(runId: string, atOnce: boolean, counts = true): void {
    const { runs, gone, total } = this.snapshot;
    this.dirty.delete(runId);
    if (this.held.delete(runId)) this.set({ waiting: this.held.size });
    if (!runs.some((run) => run.id === runId)) return;
    const lower = counts && !gone.has(runId) ? Math.max(0, total - 1) : total;
    if (atOnce) {
      const left = new Set([...gone].filter((id) => id !== runId));
      this.set({ runs: runs.filter((run) => run.id !== runId), gone: left, total: lower });
    } else {
      this.set({ gone: new Set([...gone, runId]), total: lower });
    }
  }

  // A run that nobody finishes counts as live for a minute after its last change.
  private endSilentRuns(): void {
    const silent = (run: Run) => {
      if (!run.live || run.status) return false;
      const changed = new Date(run.updated_at ?? run.created_at).getTime();
      const heard = this.heardAt.get(run.id);
      const quiet = heard === undefined ? Date.now() - changed : performance.now() - heard;
      return quiet > liveFor;
    };
    if (!this.snapshot.runs.some(silent)) return;
    const runs = this.snapshot.runs.map((run) => (silent(run) ? { ...run, live: false } : run));
    this.set({ runs });
  }
}

export const runList = new RunList();
