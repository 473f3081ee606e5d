import { Component, type ComponentChild, type FunctionComponent, h } from "preact";

/** Draws a component again only when one of its properties is another one. */
export function memo<P extends object>(Draw: (props: P) => ComponentChild): FunctionComponent<P> {
  class Memo extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      const old = this.props as Record<string, unknown>;
      return Object.entries(next).some(([key, value]) => old[key] !== value);
    }

    override render() {
      return h(Draw as FunctionComponent<P>, this.props);
    }
  }
  return Memo as unknown as FunctionComponent<P>;
}
