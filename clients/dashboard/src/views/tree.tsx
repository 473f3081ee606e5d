import type { TreeNode, TreeView, Value } from "../api/types";
import { exactly, number, plural } from "../format";
import { Card } from "../run/card";
import type { Figure } from "../run/figure";

const openItems = 12;

function Sparkline({ values }: { values: Value[] }) {
  const finite = values.filter((value): value is number => value !== null);
  if (finite.length < 2) return null;
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low || 1;
  let path = "";
  let pen = "M";
  values.forEach((value, i) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const x = (i / (values.length - 1)) * 94 + 1;
    const y = 17 - ((value - low) / span) * 14;
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return (
    <svg class="sparkline" viewBox="0 0 96 20" width="96" height="20" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

function ArrayPreview({ node }: { node: Extract<TreeNode, { type: "array" }> }) {
  const known = node.min !== null && node.max !== null;
  return (
    <span class="array">
      <code class="shape">
        {node.dtype} [{node.shape.join(", ")}]
      </code>
      {node.sparkline && <Sparkline values={node.sparkline} />}
      {known && (
        <span class="range" title={`${exactly(node.min)} to ${exactly(node.max)}`}>
          {number(node.min)} to {number(node.max)}, mean {number(node.mean)}
        </span>
      )}
    </span>
  );
}

function Leaf({ node }: { node: TreeNode }) {
  switch (node.type) {
    case "array":
      return <ArrayPreview node={node} />;
    case "text":
      return <span class="text">{node.value}</span>;
    case "number":
      return <code class="value">{String(node.value).replace(/^-/, "\u2212")}</code>;
    case "bool":
      return <code class="value">{node.value ? "true" : "false"}</code>;
    default:
      return <code class="nothing">null</code>;
  }
}

function Branch({ name, node, depth }: { name: string | null; node: TreeNode; depth: number }) {
  const label = name !== null && <span class="key">{name}</span>;
  if (node.type !== "object" && node.type !== "list") {
    return (
      <div class="leaf">
        {label}
        <Leaf node={node} />
      </div>
    );
  }
  const items: [string, TreeNode][] =
    node.type === "object" ? node.items : node.items.map((item, i) => [String(i), item]);
  const total = items.length + (node.more ?? 0);
  const size = node.type === "object" ? plural(total, "key") : plural(total, "item");
  if (total === 0) {
    return (
      <div class="leaf">
        {label}
        <code class="nothing">{node.type === "object" ? "{}" : "[]"}</code>
      </div>
    );
  }
  const isShort = (item: TreeNode) =>
    item.type !== "object" &&
    item.type !== "list" &&
    item.type !== "array" &&
    String(item.type === "null" ? "" : item.value).length <= 24;
  if (node.type === "list" && node.more === 0 && total <= 16 && node.items.every(isShort)) {
    return (
      <div class="leaf">
        {label}
        <span class="brief">
          [
          {node.items.map((item, i) => (
            <>
              {i > 0 && ", "}
              <Leaf node={item} />
            </>
          ))}
          ]
        </span>
      </div>
    );
  }
  const inside = (
    <>
      {items.map(([key, item]) => (
        <Branch key={key} name={key} node={item} depth={depth + 1} />
      ))}
      {node.more > 0 && <p class="more">and {plural(node.more, "more", "more")}</p>}
    </>
  );
  if (depth === 0 && name === null) return <div class="branches">{inside}</div>;
  return (
    <details open={depth < 2 && total <= openItems}>
      <summary>
        {label}
        <span class="size">{size}</span>
      </summary>
      <div class="branches">{inside}</div>
    </details>
  );
}

export function TreeFigure({ figure }: { figure: Figure<TreeView> }) {
  const { view } = figure;
  return (
    <Card figure={figure}>
      {view.waiting && (
        <p class="waiting">Nothing to draw yet. The figure appears with its first values.</p>
      )}
      {view.reason && !view.waiting && <p class="reason">Shown as it is stored: {view.reason}</p>}
      <div class="tree">
        <Branch name={null} node={view.tree} depth={0} />
      </div>
    </Card>
  );
}
