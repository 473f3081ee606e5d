// What is known of a run beside its results.

import type { ComponentChildren } from "preact";
import type { Json, Run } from "../api/types";
import { exactly } from "../format";
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

/** Nested metadata as lines of dotted keys. */
function lines(value: { [key: string]: Json }, prefix = ""): [string, Json][] {
  return Object.entries(value).flatMap(([key, inner]): [string, Json][] => {
    const name = prefix ? `${prefix}.${key}` : key;
    const nested = inner !== null && typeof inner === "object" && !Array.isArray(inner);
    return nested && Object.keys(inner).length > 0 ? lines(inner, name) : [[name, inner]];
  });
}

function Value({ value }: { value: Json }) {
  if (typeof value === "string") return <>{value}</>;
  if (typeof value === "number") return <span class="digits">{exactly(value)}</span>;
  return <code>{JSON.stringify(value)}</code>;
}

/** Whether there is anything to tell. */
export function hasAbout(run: Run): boolean {
  return Boolean(run.equation || run.circuit || run.note || Object.keys(run.metadata ?? {}).length);
}

export function About({ run }: { run: Run }) {
  const metadata = lines(run.metadata ?? {});
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
      {metadata.length > 0 && (
        <Section title="Metadata">
          <dl class="metadata">
            {metadata.map(([key, value]) => (
              <div key={key}>
                <dt>{key}</dt>
                <dd>
                  <Value value={value} />
                </dd>
              </div>
            ))}
          </dl>
        </Section>
      )}
    </aside>
  );
}
