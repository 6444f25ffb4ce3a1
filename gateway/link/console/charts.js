/** Readings over the time that the page has been open, one chart each. */
import { el, Keyed, setText } from "./dom.js";

/** Points of a chart: at one a second, ten minutes. */
const POINTS = 600;
/** More charts than anybody looks at. */
const CHARTS = 24;

const LIBRARY = "/uplot.js";
/** Without the library, which is a file of the package like the others, values are shown and nothing is drawn. */
const library = import(LIBRARY).then(
  (module) => module.default,
  () => undefined,
);

export class Charts {
  #keyed;

  constructor(parent) {
    this.#keyed = new Keyed(parent, (reading) => new Chart(reading));
  }

  show(readings) {
    this.#keyed.show(readings.slice(0, CHARTS), ({ topic, quantity }) => `${topic}\n${quantity}`);
  }
}

class Chart {
  #value = el("p", { class: "value" });
  #age = el("p", { class: "age" });
  #frame = el("div", { class: "chart", "aria-hidden": "true" });
  #times = [];
  #values = [];
  #plot;

  constructor({ topic, quantity, module }) {
    const title = el("h3", {}, quantity === "" ? topic : `${quantity} (${topic})`);
    this.element = el(
      "li",
      { class: "card" },
      title,
      this.#value,
      this.#frame,
      el("p", {}, `published by ${module}`),
      this.#age,
    );
    void library.then((Plot) => this.#draw(Plot));
  }

  update({ value, unit, text, time }) {
    setText(this.#value, value === null ? text : `${Number(value.toPrecision(6))} ${unit}`);
    setText(this.#age, `at ${new Date(time).toLocaleTimeString()}`);
    if (value === null || this.#times.at(-1) === time / 1000) return;
    this.#times.push(time / 1000);
    this.#values.push(value);
    if (this.#times.length > POINTS) {
      this.#times.shift();
      this.#values.shift();
    }
    this.#plot?.setData([this.#times, this.#values]);
  }

  #draw(Plot) {
    if (Plot === undefined) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => resolved(style.getPropertyValue(name));
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    const size = () => ({ width: Math.max(200, this.#frame.clientWidth), height: 140 });
    const series = [{}, { stroke: colour("--accent"), width: 2, points: { show: false } }];
    const options = {
      ...size(),
      legend: { show: false },
      cursor: { show: false },
      axes: [axis, { ...axis, size: 60 }],
      series,
    };
    this.#plot = new Plot(options, [this.#times, this.#values], this.#frame);
    new ResizeObserver(() => this.#plot.setSize(size())).observe(this.#frame);
  }
}

/** `light-dark(a, b)` as the canvas can take it. */
function resolved(value) {
  const probe = el("span");
  probe.style.color = value;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
