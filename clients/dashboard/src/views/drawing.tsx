// The component that draws a view of each kind.

import { Component } from "preact";
import type { View } from "../api/types";
import { Card } from "../run/card";
import type { Figure } from "../run/figure";
import { AnimationFigure } from "./animation";
import { EnsembleFigure } from "./ensemble";
import { HeatmapFigure } from "./heatmap";
import { LineFigure } from "./line";
import { OptimizationFigure } from "./optimization";
import { StepsFigure } from "./steps";
import { TreeFigure } from "./tree";

function byKind(figure: Figure) {
  const of = <V extends View>(view: V) => ({ ...figure, view }) as Figure<V>;
  const { view } = figure;
  switch (view.kind) {
    case "line":
      return <LineFigure figure={of(view)} />;
    case "steps":
      return <StepsFigure figure={of(view)} />;
    case "heatmap":
      return <HeatmapFigure figure={of(view)} />;
    case "ensemble":
      return <EnsembleFigure figure={of(view)} />;
    case "optimization":
      return <OptimizationFigure figure={of(view)} />;
    case "animation":
      return <AnimationFigure figure={of(view)} />;
    case "tree":
      return <TreeFigure figure={of(view)} />;
    default:
      return (
        <Card figure={figure}>
          <p class="card-failed">
            This page does not know views of the kind {String((view as View).kind)}. It may be older
            than the server: load it again.
          </p>
        </Card>
      );
  }
}

/** One figure that fails must not take the others with it. */
export class Drawing extends Component<{ figure: Figure }, { fault: string | null }> {
  override state = { fault: null };

  override componentDidCatch(error: unknown): void {
    console.error(error);
    this.setState({ fault: String(error) });
  }

  override render() {
    const { figure } = this.props;
    if (this.state.fault === null) return byKind(figure);
    return (
      <Card figure={figure}>
        <div class="card-failed" role="alert">
          <p>
            <strong>This figure could not be drawn.</strong>
          </p>
          <p>{this.state.fault}</p>
          <button type="button" class="button" onClick={() => this.setState({ fault: null })}>
            Try again
          </button>
        </div>
      </Card>
    );
  }
}
