// Notes are Markdown. They are turned into elements one by one, never into
// HTML text, so nothing a note says can become markup or script. Pictures are
// shown as links: the page loads nothing from elsewhere.

import type { ComponentChildren } from "preact";

const inlineRule =
  /(`+)(.+?)\1|\*\*(.+?)\*\*|__(.+?)__|\*([^*\s][^*]*?)\*|\b_([^_\s][^_]*?)_\b|~~(.+?)~~|!?\[([^\]]*)\]\(([^()\s]+(?:\([^()\s]*\))?)(?:\s+"[^"]*")?\)|<?(https?:\/\/[^\s<>]*[^\s<>.,;:!?)])>?/g;

function safeAddress(address: string): string | null {
  try {
    const url = new URL(address, location.origin);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(address: string, content: ComponentChildren) {
  const href = safeAddress(address);
  if (!href) return content;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {content}
    </a>
  );
}

export function inline(text: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let from = 0;
  for (const match of text.matchAll(inlineRule)) {
    if (match.index > from) out.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    const [, , code, strong, strongToo, soft, softToo, struck, label, address, bare] = match;
    const bold = strong ?? strongToo;
    const italic = soft ?? softToo;
    if (code !== undefined) out.push(<code>{code.trim()}</code>);
    else if (bold !== undefined) out.push(<strong>{inline(bold)}</strong>);
    else if (italic !== undefined) out.push(<em>{inline(italic)}</em>);
    else if (struck !== undefined) out.push(<s>{inline(struck)}</s>);
    else if (address !== undefined) out.push(link(address, inline(label || address)));
    else if (bare !== undefined) out.push(link(bare, bare));
  }
  if (from < text.length) out.push(text.slice(from));
  return out;
}

const bullet = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const fence = /^\s*(```+|~~~+)/;
const heading = /^(#{1,6})\s+(.*?)\s*#*$/;
const rule = /^\s*([-*_])(\s*\1){2,}\s*$/;
const quote = /^\s*>\s?/;
const tableRule = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

function cells(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split("|")
    .map((cell) => cell.trim());
}

function startsBlock(line: string): boolean {
  return [bullet, fence, heading, rule, quote].some((pattern) => pattern.test(line));
}

function list(lines: string[], start: number): [ComponentChildren, number] {
  const first = bullet.exec(lines[start] ?? "");
  const depth = first?.[1]?.length ?? 0;
  const numbered = /\d/.test(first?.[2] ?? "");
  const items: { text: string; below: string[] }[] = [];
  let at = start;
  for (; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const found = bullet.exec(line);
    const indent = /^\s*/.exec(line)?.[0].length ?? 0;
    if (found && indent <= depth) {
      if (indent < depth || /\d/.test(found[2] ?? "") !== numbered) break;
      items.push({ text: found[3] ?? "", below: [] });
    } else if (indent > depth && line.trim()) {
      items.at(-1)?.below.push(line);
    } else {
      break;
    }
  }
  const body = items.map((item, i) => (
    <li key={i}>
      {inline(item.text)}
      {item.below.length > 0 && blocks(item.below)}
    </li>
  ));
  return [numbered ? <ol>{body}</ol> : <ul>{body}</ul>, at];
}

function table(lines: string[], start: number): [ComponentChildren, number] {
  const head = cells(lines[start] ?? "");
  let at = start + 2;
  const rows: string[][] = [];
  for (; at < lines.length && (lines[at] ?? "").includes("|"); at++)
    rows.push(cells(lines[at] ?? ""));
  const drawn = (
    <table>
      <thead>
        <tr>
          {head.map((cell) => (
            <th key={cell}>{inline(cell)}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row, i) => (
          <tr key={i}>
            {head.map((name, k) => (
              <td key={name}>{inline(row[k] ?? "")}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
  return [drawn, at];
}

function title(level: number, text: string) {
  // The page has its own first two levels.
  if (level <= 1) return <h3>{inline(text)}</h3>;
  if (level === 2) return <h4>{inline(text)}</h4>;
  return <h5>{inline(text)}</h5>;
}

function blocks(lines: string[]): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const fenced = fence.exec(line);
    const headed = heading.exec(line);
    if (!line.trim()) {
      at++;
    } else if (fenced) {
      const end = fenced[1] ?? "```";
      const from = ++at;
      while (at < lines.length && !(lines[at] ?? "").trim().startsWith(end)) at++;
      out.push(
        <pre>
          <code>{lines.slice(from, at).join("\n")}</code>
        </pre>,
      );
      at++;
    } else if (headed) {
      out.push(title(headed[1]?.length ?? 1, headed[2] ?? ""));
      at++;
    } else if (rule.test(line)) {
      out.push(<hr />);
      at++;
    } else if (quote.test(line)) {
      const from = at;
      while (at < lines.length && quote.test(lines[at] ?? "")) at++;
      const inside = lines.slice(from, at).map((one) => one.replace(quote, ""));
      out.push(<blockquote>{blocks(inside)}</blockquote>);
    } else if (bullet.test(line)) {
      const [drawn, next] = list(lines, at);
      out.push(drawn);
      at = Math.max(next, at + 1);
    } else if (
      line.includes("|") &&
      tableRule.test(lines[at + 1] ?? "") &&
      (lines[at + 1] ?? "").includes("-")
    ) {
      const [drawn, next] = table(lines, at);
      out.push(drawn);
      at = next;
    } else {
      const from = at++;
      while (at < lines.length && (lines[at] ?? "").trim() && !startsBlock(lines[at] ?? "")) at++;
      out.push(<p>{inline(lines.slice(from, at).join("\n"))}</p>);
    }
  }
  return out;
}

export function Markdown({ text }: { text: string }) {
  return <div class="markdown">{blocks(text.replace(/\r\n?/g, "\n").split("\n"))}</div>;
}
