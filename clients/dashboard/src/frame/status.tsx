// How a run stands: an icon and a word, never a colour alone.

import type { Run } from "../api/types";

interface Look {
  word: string;
  tone: "ok" | "bad" | "busy" | "off";
  drawing: string;
}

const looks: Record<string, Look> = {
  running: { word: "Running", tone: "busy", drawing: "M8 4.5V8l2.5 1.5" },
  pending: { word: "Pending", tone: "off", drawing: "M8 4.5V8l2.5 1.5" },
  succeeded: { word: "Succeeded", tone: "ok", drawing: "m5 8.3 2.2 2.2L11 6" },
  failed: { word: "Failed", tone: "bad", drawing: "m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4" },
  failed_crash: { word: "Crashed", tone: "bad", drawing: "m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4" },
  failed_abandoned: { word: "Abandoned", tone: "off", drawing: "M5.5 8h5" },
  failed_lost: { word: "Lost", tone: "bad", drawing: "M8 4.7v4M8 11v.3" },
};
// Nobody has said how it stands, but it has changed within the last minute.
const active: Look = { word: "Active", tone: "busy", drawing: "M8 8h.01" };
const unsaid: Look = { word: "Not finished", tone: "off", drawing: "M5.5 8h5" };

export function lookOf(run: Pick<Run, "status" | "live">): Look {
  if (run.status) {
    return looks[run.status] ?? { word: run.status.replaceAll("_", " "), tone: "off", drawing: "" };
  }
  return run.live ? active : unsaid;
}

export function Status({ run }: { run: Pick<Run, "status" | "live"> }) {
  const look = lookOf(run);
  const moving = look.tone === "busy" && run.live;
  return (
    <span class={`status ${look.tone}${moving ? " moving" : ""}`}>
      <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
        <circle cx="8" cy="8" r="6.25" />
        <path d={look.drawing} />
      </svg>
      <span>{look.word}</span>
    </span>
  );
}
