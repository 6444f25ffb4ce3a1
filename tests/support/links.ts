/** Links between pages: which lead to a file that is not there. */
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";

/** Of the pages of this pattern below the folder; each as `page: target`. @throws where there is no page or no link to look at */
export function danglingLinks(folder: string, pattern: string): string[] {
  const links = globSync(pattern, { cwd: folder }).flatMap((page) =>
    [...readFileSync(path.join(folder, page), "utf8").matchAll(/\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)/g)].map(
      ([, target]) => ({ page, target: String(target) }),
    ),
  );
  if (links.length === 0) throw new Error(`no page of ${folder} has a link`);
  return links
    .filter(({ page, target }) => !existsSync(path.join(folder, path.dirname(page), target)))
    .map(({ page, target }) => `${page}: ${target}`);
}
