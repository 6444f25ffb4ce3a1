/** What `bulkhead top` draws of a look. */
import { expect, test } from "vitest";
import { describe as draw } from "../../tools/operate/top.ts";
import { fakeSnapshot } from "./support.ts";

/** The table below this heading, as rows of cells by their titles. */
function table(text: string, heading: string): Record<string, string>[] {
  const lines = text.split("\n");
  const head = lines.findIndex((line) => line.startsWith(heading));
  const titles = [...(lines[head] ?? "").matchAll(/\S+( \S+)*/g)].map((match) => [match[0], match.index] as const);
  const rows = lines.slice(head + 1, lines.indexOf("", head));
  return rows.map((row) =>
    Object.fromEntries(titles.map(([title, at], index) => [title, row.slice(at, titles[index + 1]?.[1]).trim()])),
  );
}

test("it shows what starves and what is lost, and tells refused messages from dropped ones", () => {
  const snapshot = fakeSnapshot();
  const [module, ...modules] = snapshot.modules;
  const [route, ...routes] = snapshot.routes;
  if (module === undefined || route === undefined) throw new Error("the snapshot is empty");
  const text = draw({
    ...snapshot,
    modules: [{ ...module, waitingMs: 1340, lost: 7 }, ...modules.map((each) => ({ ...each, waitingMs: 12 }))],
    routes: [{ ...route, refused: 5, dropped: 3 }, ...routes],
  });
  const [first, second] = table(text, "MODULE");
  expect(first).toMatchObject({ MODULE: module.name, WAITS: "1.3s", LOST: "7" });
  expect(second).toMatchObject({ WAITS: "12ms", LOST: "0" });
  expect(table(text, "ROUTE")[0]).toMatchObject({ REFUSED: "5", DROPPED: "3" });
  expect(table(draw(snapshot), "MODULE")[0]).toMatchObject({ WAITS: "-", LOST: "0" });
});
