// What is known of a run beside its results.

import type { ComponentChildren } from "preact";
import type { Json, Run } from "../api/types";
import { exactly, exactText, oneLine, plural } from "../format";
import { CopyButton } from "../frame/copy-button";
import { Formula } from "./circuit";
import { Markdown } from "./markdown";

function Section({
  title,
  copy,
  children,
}: {
  title: string;
  copy?: string;
  children: ComponentChildren;
}) {
  return (
    <section class="about-section">
      <h2>
        {title}
        {copy !== undefined && <CopyButton text={copy} what={title.toLowerCase()} />}
      </h2>
      {children}
    </section>
  );
}

/** Long words may break behind the signs that join them, as in a path. */
function breakable(text: string): ComponentChildren[] {
  return text
    .split(/(?<=[/_.])/)
    .flatMap((part, i) => (i === 0 ? [part] : [<wbr key={i} />, part]));
}

const foldedFrom = 60;

function Value({ value }: { value: Json }) {
  if (typeof value === "string") return <>{breakable(value)}</>;
  if (typeof value === "number") return <span class="digits">{exactly(value)}</span>;
  const exact = exactText(value);
  if (exact !== null) return <span class="digits">{exact}</span>;
  const text = oneLine(value);
  if (Array.isArray(value) && text.length > foldedFrom) {
    return (
      <details>
        <summary>{plural(value.length, "item")}</summary>
        <code>{text}</code>
      </details>
    );
  }
  return <code>{text}</code>;
}

const longText = 36;

function Entry({ name, value }: { name: string; value: Json }) {
  const nested = value !== null && typeof value === "object" && !Array.isArray(value);
  if (nested && exactText(value) === null && Object.keys(value).length > 0) {
    return (
      <div class="group">
        <dt>{name}</dt>
        <dd>
          <Entries of={value} />
        </dd>
      </div>
    );
  }
  const long = typeof value === "string" && value.length > longText;
  return (
    <div class={long ? "wide" : ""}>
      <dt>{name}</dt>
      <dd>
        <Value value={value} />
      </dd>
    </div>
  );
}

function Entries({ of }: { of: { [key: string]: Json } }) {
  return (
    <dl class="metadata">
      {Object.entries(of).map(([key, value]) => (
        <Entry key={key} name={key} value={value} />
      ))}
    </dl>
  );
}

/** Whether there is anything to tell. */
export function hasAbout(run: Run): boolean {
  return Boolean(run.equation || run.circuit || run.note || Object.keys(run.metadata ?? {}).length);
}

export function About({ run }: { run: Run }) {
  const metadata = run.metadata ?? {};
  return (
    <aside class="about" aria-label="About this run">
      {run.equation && (
        <Section title="Equation" copy={run.equation}>
          <Formula text={run.equation} />
        </Section>
      )}
      {run.circuit && (
        <Section title="Circuit" copy={run.circuit}>
          <Formula text={run.circuit} />
        </Section>
      )}
      {run.note && (
        <Section title="Note">
          <Markdown text={run.note} />
        </Section>
      )}
      {Object.keys(metadata).length > 0 && (
        <Section title="Metadata">
          <Entries of={metadata} />
        </Section>
      )}
    </aside>
  );
}
