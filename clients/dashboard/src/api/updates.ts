// The one stream of updates of this page. Messages are gathered and handed on
// at most four times a second, so a burst costs a few draws and not thousands.

import { sessions } from "./session";
import type { Change, Message } from "./types";

export type Phase = "connecting" | "live" | "reconnecting";

export interface Connection {
  phase: Phase;
  /** When the server was last heard, in ms of the page's clock. */
  heardAt: number;
}

export interface Batch {
  /** Something may have been missed: read again whatever is on the screen. */
  resync: boolean;
  changes: Change[];
}

type Listener = (batch: Batch) => void;

const drainEvery = 250;
const retryEvery = 1_000;
// A stream that has lived this long and ends may be had again at once: who looks on was asked anew.
const longEnough = 5_000;
const hiddenFor = 15_000;

class Updates {
  connection: Connection = { phase: "connecting", heardAt: performance.now() };
  private source: EventSource | null = null;
  private readonly listeners = new Set<Listener>();
  private readonly watchers = new Set<() => void>();
  private readonly inbox = new Map<string, Change>();
  private resync = false;
  private drainTimer = 0;
  private drainedAt = 0;
  private retryTimer = 0;
  private hiddenTimer = 0;
  private connectedOnce = false;
  private signedOut = false;
  private openedAt = 0;

  start(): void {
    this.open();
    document.addEventListener("visibilitychange", () => this.onVisibility());
    sessions.watch(() => this.onSession());
  }

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  private open(): void {
    window.clearTimeout(this.retryTimer);
    this.source?.close();
    const source = new EventSource("/api/updates");
    this.source = source;
    this.openedAt = performance.now();
    source.onmessage = (event) => this.onMessage(event);
    source.onerror = () => this.onError(source);
  }

  private onMessage(event: MessageEvent<string>): void {
    const message = JSON.parse(event.data) as Message;
    if (message.type === "connected") {
      if (this.connectedOnce) this.resync = true;
      this.connectedOnce = true;
    } else if (message.type === "reset") {
      this.resync = true;
    } else {
      this.inbox.set(`${message.object_type}/${message.object_id}`, message);
    }
    this.say("live");
    this.schedule();
  }

  private onError(source: EventSource): void {
    if (source !== this.source) return;
    if (this.connection.phase !== "reconnecting") this.say("reconnecting");
    // The browser waits several seconds and gives up for good on some answers;
    // trying again ourselves is quicker and the resync makes up for the gap.
    source.close();
    window.clearTimeout(this.retryTimer);
    const wait = performance.now() - this.openedAt > longEnough ? 0 : retryEvery;
    this.retryTimer = window.setTimeout(() => this.again(), wait);
    // It does not say why it ended: perhaps because nobody is signed in any more.
    if (sessions.session.phase !== "open") void sessions.load();
  }

  private again(): void {
    // Who signs in loads the page anew; until then there is nothing to be told.
    if (sessions.session.phase !== "out") this.open();
  }

  private say(phase: Phase): void {
    const heardAt = phase === "live" ? performance.now() : this.connection.heardAt;
    const changed = phase !== this.connection.phase;
    this.connection = { phase, heardAt };
    if (changed) for (const watcher of this.watchers) watcher();
  }

  private schedule(): void {
    if (this.drainTimer || document.hidden) return;
    const wait = Math.max(0, this.drainedAt + drainEvery - performance.now());
    this.drainTimer = window.setTimeout(() => this.drain(), wait);
  }

  private drain(): void {
    this.drainTimer = 0;
    if (!this.resync && this.inbox.size === 0) return;
    this.drainedAt = performance.now();
    const batch = { resync: this.resync, changes: [...this.inbox.values()] };
    this.resync = false;
    this.inbox.clear();
    for (const listener of this.listeners) listener(batch);
  }

  // A session that was thought to be over was not: its cookie had been renewed meanwhile.
  private onSession(): void {
    const { phase } = sessions.session;
    const back = this.signedOut && phase === "in";
    this.signedOut = phase === "out";
    if (back && this.source?.readyState === EventSource.CLOSED) this.open();
  }

  // A hidden page lets go of its connection after a while: browsers allow only
  // six to one server, and a forgotten tab must not starve the one in front.
  private onVisibility(): void {
    window.clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = window.setTimeout(() => {
        window.clearTimeout(this.retryTimer);
        this.source?.close();
        this.source = null;
      }, hiddenFor);
    } else if (this.source === null) {
      this.again();
    } else {
      this.schedule();
    }
  }
}

export const updates = new Updates();
