/** What the page is made of: a fixed list of files, read once. A path of a request is looked up, and never opened. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface PageFile {
  readonly type: string;
  readonly content: Uint8Array;
}

const TYPES = Object.freeze({
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
});

/** Path of the request: file, from the folder of the page or, of a package, by its name there. */
const FILES: readonly (readonly [path: string, file: string])[] = [
  ["/", "./index.html"],
  ["/console.css", "./console.css"],
  ["/console.js", "./console.js"],
  ["/dom.js", "./dom.js"],
  ["/topology.js", "./topology.js"],
  ["/charts.js", "./charts.js"],
  ["/icon.svg", "./icon.svg"],
  ["/uplot.js", "uplot/dist/uPlot.esm.js"],
  ["/uplot.css", "uplot/dist/uPlot.min.css"],
];

/** @param onMissing told of a file that is not there: the page does without it */
export function pageFiles(onMissing: (file: string) => void): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const [path, file] of FILES) {
    const type = TYPES[file.slice(file.lastIndexOf(".") + 1) as keyof typeof TYPES];
    try {
      const isOwn = file.startsWith("./");
      const url = isOwn ? new URL(file, new URL("../console/", import.meta.url)).href : import.meta.resolve(file);
      files.set(path, { type, content: readFileSync(fileURLToPath(url)) });
    } catch {
      onMissing(file);
    }
  }
  return files;
}
