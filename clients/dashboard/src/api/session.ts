// Who has signed in, and how it is done. Where nobody is asked, nothing of it is shown.

export interface Person {
  id: string;
  handle: string;
  name: string;
  kind: string;
}

/** How one may sign in: at the organisation's provider, or by an API key. */
export type Way = "oidc" | "key";

export interface Session {
  /** `open`: nobody is asked. `out`: nothing is shown until somebody signs in. */
  phase: "unknown" | "open" | "in" | "out";
  who: Person | null;
  /** Null while the server has not said. */
  ways: Way[] | null;
  /** Why a session is over that there was. */
  ended: string | null;
}

interface Said {
  required: boolean;
  ways: Way[];
  who: Person | null;
  ended: string | null;
}

class SessionStore {
  session: Session = { phase: "unknown", who: null, ways: null, ended: null };
  private readonly watchers = new Set<() => void>();
  private loading: Promise<void> | null = null;

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /** Asks the server; while it does not answer, what was known stays. */
  load(): Promise<void> {
    this.loading ??= this.ask().finally(() => {
      this.loading = null;
    });
    return this.loading;
  }

  /** A request was refused: whoever it was is not signed in, or not any more. */
  lost(): void {
    if (this.session.phase === "out") return;
    this.set({ ...this.session, phase: "out", who: null });
    void this.load();
  }

  /** Answers what is wrong with the key, or nothing. */
  async signInWithKey(key: string): Promise<string | null> {
    const body = JSON.stringify({ key });
    const headers = { "content-type": "application/json" };
    try {
      const response = await fetch("/auth/key", { method: "POST", body, headers });
      if (response.ok) return null;
      const problem = (await response.json()) as { detail?: unknown };
      return String(problem.detail ?? `the server answered ${response.status}`);
    } catch {
      return "the server cannot be reached";
    }
  }

  /** Answers where to go then: the provider may have a session of its own to end. */
  async signOut(): Promise<string> {
    const response = await fetch("/auth/logout", { method: "POST" });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return ((await response.json()) as { next: string }).next;
  }

  private async ask(): Promise<void> {
    let said: Said;
    try {
      const response = await fetch("/auth/session", { cache: "no-store" });
      if (!response.ok) return;
      said = (await response.json()) as Said;
    } catch {
      return;
    }
    const { who, ways } = said;
    const phase = said.required ? (who ? "in" : "out") : "open";
    // Told once, as its cookie is gone then; it holds until somebody signs in.
    this.set({ phase, who, ways, ended: who ? null : (said.ended ?? this.session.ended) });
  }

  private set(session: Session): void {
    this.session = session;
    for (const watcher of this.watchers) watcher();
  }
}

export const sessions = new SessionStore();

/** Where one signs in at the provider, to come back to a path of this page. */
export function loginPath(back: string): string {
  return `/auth/login?return=${encodeURIComponent(back)}`;
}
