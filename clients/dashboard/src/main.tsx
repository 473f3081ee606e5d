import "uplot/dist/uPlot.min.css";
import "./style/tokens.css";
import "./style/frame.css";
import "./style/list.css";
import "./style/run.css";
import "./style/card.css";
import "./style/figure.css";
import "./style/numbers.css";
import { render } from "preact";
import { updates } from "./api/updates";
import { App } from "./app";
import { startRouter } from "./router";
import { startTheme } from "./theme";

startTheme();
startRouter();
updates.start();
const page = document.getElementById("page");
if (page) render(<App />, page);
