// Small line drawings, 16 by 16, in the colour of the text around them.

import type { ComponentChildren } from "preact";

function icon(children: ComponentChildren) {
  return () => (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      {children}
    </svg>
  );
}

export const SearchIcon = icon(
  <>
    <circle cx="7" cy="7" r="4.25" />
    <path d="m10.2 10.2 3.3 3.3" />
  </>,
);
export const BinIcon = icon(
  <path d="M2.5 4.5h11M6.5 4.5v-2h3v2M4 4.5l.6 9h6.8l.6-9M6.7 7v4M9.3 7v4" />,
);
export const CrossIcon = icon(<path d="m4 4 8 8M12 4l-8 8" />);
export const SunIcon = icon(
  <>
    <circle cx="8" cy="8" r="2.75" />
    <path d="M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M3.4 12.6l1.1-1.1M11.5 4.5l1.1-1.1" />
  </>,
);
export const MoonIcon = icon(<path d="M13 9.7A5.5 5.5 0 0 1 6.3 3a5.5 5.5 0 1 0 6.7 6.7Z" />);
export const TickIcon = icon(<path d="m3.5 8.5 3 3 6-7" />);
export const PlayIcon = icon(<path class="solid" d="M5 3.2v9.6l8-4.8Z" />);
export const PauseIcon = icon(<path class="solid" d="M4.5 3.5h2.5v9h-2.5zM9 3.5h2.5v9h-2.5z" />);
export const BackIcon = icon(<path class="solid" d="M11.5 3.5v9L5.5 8ZM3.5 3.5H5v9H3.5z" />);
export const ForwardIcon = icon(<path class="solid" d="M4.5 3.5v9l6-4.5ZM11 3.5h1.5v9H11z" />);
export const CopyIcon = icon(<path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" />);
export const WarnIcon = icon(<path d="M8 2 1.8 13.2h12.4ZM8 6.3v3.4M8 11.4v.4" />);
