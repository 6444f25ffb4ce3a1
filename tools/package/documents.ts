/** The documents that Debian asks of a package: changelog and copyright. */
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import type { LockedPackage } from "./dependencies.ts";

export const MAINTAINER = "Bulkhead maintainers <maintainers@bulkhead.example>";

/** The newest release of CHANGELOG.md in Debian's form. `seconds` since 1970. */
export function debianChangelog(markdown: string, version: string, seconds: number): string {
  // What follows a plus sign counts builds of the same release.
  const [release = version] = version.split("+");
  const section = markdown.split(/^## /m).find((part) => part.startsWith(release));
  if (section === undefined) throw new Error(`CHANGELOG.md has no section ${version}`);
  const items = section
    .split(/^- /m)
    .slice(1)
    .map((item) => item.replaceAll(/\s+/g, " ").trim());
  const lines = items.map((item) => wrap(item, "  * ", "    "));
  const date = new Date(seconds * 1000).toUTCString().replace("GMT", "+0000");
  return `bulkhead (${version}) unstable; urgency=medium\n\n${lines.join("\n")}\n\n -- ${MAINTAINER}  ${date}\n`;
}

function wrap(text: string, first: string, next: string): string {
  const lines: string[] = [];
  let line = first;
  for (const word of text.split(" ")) {
    if (line.trim() !== "" && line.length + word.length > 78) {
      lines.push(line.trimEnd());
      line = next;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()].join("\n");
}

const NO_TEXT = "The package names its licence and brings no text of it.";
/** Every Debian has the text; a copy of it in each package is an error there. */
const APACHE =
  /^[^\S\n]*Apache License\s+Version 2\.0, January 2004[^]*?(END OF TERMS AND CONDITIONS|limitations under the License\.)/gm;
const APACHE_ON_DEBIAN = "Apache License, version 2.0: /usr/share/common-licenses/Apache-2.0";

export interface Licensed {
  /** Where its files are in the package, as a pattern. */
  readonly files: string;
  readonly name: string;
  /** The name of the licence, as the package says it. */
  readonly licence: string;
  /** The text that came with it, copyright lines included. */
  readonly text: string;
}

/** What a package in a folder says of its licence. */
export function licenceOf(root: string, folder: string, { license }: LockedPackage): Licensed {
  const file = globSync("{LICEN[CS]E,COPYING,licen[cs]e}*", { cwd: path.join(root, folder) })
    .sort()
    .map((name) => path.join(root, folder, name))
    .find((name) => existsSync(name));
  const text = file === undefined ? NO_TEXT : readFileSync(file, "utf8").replaceAll(APACHE, APACHE_ON_DEBIAN);
  const name = folder.slice(folder.lastIndexOf("node_modules/") + "node_modules/".length);
  return { files: `usr/lib/bulkhead/${folder}/*`, name, licence: license ?? "unknown", text };
}

/** Copyright file, version 1.0 of Debian's format. */
export function debianCopyright(others: readonly Licensed[]): string {
  const paragraphs = others.map(({ files, name, licence, text }) =>
    paragraph(files, `the authors of ${name}`, licence, text),
  );
  return `${[
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: bulkhead",
    paragraph("*", "the Bulkhead authors", "Apache-2.0", APACHE_ON_DEBIAN),
    ...paragraphs,
  ].join("\n\n")}\n`;
}

function paragraph(files: string, holder: string, licence: string, text: string): string {
  return `Files: ${files}\nCopyright: ${holder}\nLicense: ${licence}\n${indent(text)}`;
}

function indent(text: string): string {
  return text
    .trim()
    .split("\n")
    .map((line) => (line.trim() === "" ? " ." : ` ${line.trimEnd()}`))
    .join("\n");
}
