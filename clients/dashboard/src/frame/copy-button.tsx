import { useState } from "preact/hooks";
import { CopyIcon, TickIcon } from "./icons";

export function CopyButton({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    window.setTimeout(() => setCopied(false), 1_500);
  };
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={copied ? "Copied" : `Copy ${what}`}
      title={copied ? "Copied" : `Copy ${what}`}
      onClick={copy}
    >
      {copied ? <TickIcon /> : <CopyIcon />}
    </button>
  );
}
