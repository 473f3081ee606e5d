// Equations and circuits as text a reader can take in: calls laid out as a tree
// where one line is too long, names and numbers told apart.

interface Call {
  name: string;
  args: Call[];
  called: boolean;
}

const lineWidth = 37;

/** Reads `f(g(x), 2)`; null where the text is something else. */
export function parseCalls(text: string): Call | null {
  let at = 0;
  const space = () => {
    while (/\s/.test(text[at] ?? "")) at++;
  };
  const read = (): Call | null => {
    space();
    const start = at;
    while (at < text.length && !/[(),]/.test(text[at] ?? "")) at++;
    const name = text.slice(start, at).trim();
    if (!name) return null;
    if (text[at] !== "(") return { name, args: [], called: false };
    at++;
    const args: Call[] = [];
    space();
    while (text[at] !== ")") {
      const argument = read();
      if (!argument) return null;
      args.push(argument);
      space();
      if (text[at] === ",") at++;
      else if (text[at] !== ")") return null;
    }
    at++;
    return { name, args, called: true };
  };
  const call = read();
  space();
  return call && at >= text.length ? call : null;
}

function flat(call: Call): string {
  return call.called ? `${call.name}(${call.args.map(flat).join(", ")})` : call.name;
}

function laidOut(call: Call, indent: number): string {
  const pad = "  ".repeat(indent);
  const line = flat(call);
  if (call.args.length === 0 || line.length + pad.length <= lineWidth) return pad + line;
  const inside = call.args.map((argument) => laidOut(argument, indent + 1)).join(",\n");
  return `${pad}${call.name}(\n${inside})`;
}

/** The text laid out, with the `[1->1]` of a printed circuit kept at its end. */
export function pretty(text: string): string {
  const tail = /\s*\[\d+\s*->\s*\d+\]\s*$/.exec(text)?.[0] ?? "";
  const body = text.slice(0, text.length - tail.length);
  if (text.length <= lineWidth || body.includes("\n")) return text;
  const call = parseCalls(body);
  return call ? laidOut(call, 0) + (tail ? ` ${tail.trim()}` : "") : text;
}

const pieces =
  /(\[\d+\s*->\s*\d+\])|(\d+(?:\.\d+)?(?:e[+-]?\d+)?)|([A-Za-z_]\w*)(?=\s*\()|([A-Za-z_]\w*)|(\s+)|([^\w\s]+)/gi;

export function Formula({ text }: { text: string }) {
  const parts = [];
  for (const match of pretty(text).matchAll(pieces)) {
    const [piece, arity, digits, called, , , mark] = match;
    const kind = arity ? "arity" : digits ? "digits" : called ? "called" : mark ? "sign" : "";
    parts.push(
      kind ? (
        <span class={kind} key={match.index}>
          {piece}
        </span>
      ) : (
        piece
      ),
    );
  }
  return <code class="formula">{parts}</code>;
}
