/** Draws partitions as columns, modules as boxes in them, and routes as arrows, as thick as what goes by them. */
import { byId, setText, svg } from "./dom.js";

const BOX = { width: 170, height: 52, gap: 26 };
const COLUMN = { width: 210, gap: 130, top: 34 };

export function draw(element, { partitions, modules, routes }, toneOf) {
  const places = new Map();
  let rows = 1;
  partitions.forEach((partition, column) => {
    const members = modules.filter((module) => module.partition === partition.name);
    rows = Math.max(rows, members.length);
    members.forEach((module, row) => {
      const x = column * (COLUMN.width + COLUMN.gap) + (COLUMN.width - BOX.width) / 2 + 10;
      places.set(module.name, { x, y: COLUMN.top + row * (BOX.height + BOX.gap) + 10, column });
    });
  });
  const width = Math.max(1, partitions.length) * (COLUMN.width + COLUMN.gap) - COLUMN.gap + 80;
  const height = COLUMN.top + rows * (BOX.height + BOX.gap) + 20;
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.setAttribute("width", String(width));
  element.setAttribute("height", String(height));
  const text = byId("drawing-text");
  setText(text, describe(partitions, modules, routes));
  element.replaceChildren(
    text,
    arrowHead(),
    ...partitions.map((partition, column) => drawPartition(partition, column, height)),
    ...routes.flatMap((route, index) => drawRoute(route, places, index)),
    ...modules.flatMap((module) => drawModule(module, places.get(module.name), toneOf(module))),
  );
}

function arrowHead() {
  const marker = { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" };
  return svg(
    "defs",
    {},
    svg("marker", { ...marker, markerUnits: "userSpaceOnUse" }, svg("path", { d: "M0 0 8 4 0 8z", class: "head" })),
  );
}

function drawPartition({ name, answers, heapMiB }, column, height) {
  const x = column * (COLUMN.width + COLUMN.gap) + 10;
  const title = svg("text", { x: x + 6, y: 22 }, `${name}${answers ? "" : " (does not answer)"}`);
  const heap = svg("text", { x: x + COLUMN.width - 6, y: 22, class: "faint", "text-anchor": "end" }, `${heapMiB} MiB`);
  const frame = svg("rect", { x, y: 4, width: COLUMN.width, height: height - 10, rx: 8, class: "partition" });
  return svg("g", {}, frame, title, heap);
}

function drawModule(module, place, tone) {
  if (place === undefined) return [];
  const { x, y } = place;
  const per = module.activationsPerSecond;
  const line = `${module.state}${per === null ? "" : `, ${rate(per)} msg/s`}`;
  return [
    svg(
      "g",
      {},
      svg("rect", { x, y, width: BOX.width, height: BOX.height, rx: 6, class: "module", "data-tone": tone }),
      svg("text", { x: x + 10, y: y + 21 }, short(module.name)),
      svg("text", { x: x + 10, y: y + 39, class: "faint" }, line),
    ),
  ];
}

function drawRoute(route, places, index) {
  const from = places.get(route.from);
  const to = places.get(route.to.split(".")[0]);
  if (from === undefined || to === undefined) return [];
  const { path, x, y } = curve(from, to, index);
  const thick = 1 + Math.min(5, Math.log10(1 + (route.perSecond ?? 0)) * 2);
  const drops = (route.droppedPerSecond ?? 0) > 0;
  const attributes = { d: path, class: "route", "stroke-width": thick.toFixed(1), "marker-end": "url(#head)" };
  const label = svg("text", { x, y, class: "faint" }, route.perSecond === null ? "" : `${rate(route.perSecond)}/s`);
  const name = svg("title", {}, `${route.from}.${route.slot} to ${route.to}`);
  return [svg("g", {}, svg("path", { ...attributes, "data-drops": drops }, name), label)];
}

/** From the side that faces the other column; within one column around the right side. Each route has an offset of its own. */
function curve(from, to, index) {
  const shift = ((index % 5) - 2) * 6;
  const y1 = from.y + BOX.height / 2 + shift;
  const y2 = to.y + BOX.height / 2 + shift;
  if (from.column === to.column) {
    const x = from.x + BOX.width;
    const out = x + 34 + Math.abs(shift);
    return { path: `M${x} ${y1}C${out} ${y1} ${out} ${y2} ${x + 3} ${y2}`, x: out - 8, y: (y1 + y2) / 2 };
  }
  const isRight = to.column > from.column;
  const x1 = from.x + (isRight ? BOX.width : 0);
  const x2 = to.x + (isRight ? -3 : BOX.width + 3);
  const bend = (x2 - x1) / 2;
  const path = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  const at = 0.25 + (index % 3) * 0.2;
  return { path, x: x1 + (x2 - x1) * at, y: y1 + (y2 - y1) * (at * at * (3 - 2 * at)) - 4 };
}

function describe(partitions, modules, routes) {
  return `${partitions.length} partitions, ${modules.length} modules, ${routes.length} routes; the table of routes says the same`;
}

function short(name) {
  return name.length <= 22 ? name : `${name.slice(0, 21)}…`;
}

export function rate(value) {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}
