import { useLayoutEffect, useState } from "preact/hooks";

/** The width of an element in CSS pixels, 0 until it is known. */
export function useWidth(element: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const target = element.current;
    if (!target) return;
    const measure = () => setWidth(target.clientWidth);
    measure();
    const resize = new ResizeObserver(measure);
    resize.observe(target);
    return () => resize.disconnect();
  }, [element]);
  return width;
}
