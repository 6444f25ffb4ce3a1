/** Pages lead where they say: every relative link to a file that is in the repository, every anchor to a heading. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";

const LINK = /(?<!!)\[[^\]]*\]\((?!https?:)([^)\s]+)\)/g;
const pages = execFileSync("git", ["ls-files", "*.md"], { encoding: "utf8" }).trim().split("\n");

/** Code is no prose: what looks like a link or a heading there is neither. */
function prose(page: string): string {
  return page.replaceAll(/^```.*?^```/gms, "").replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, ""));
}

/** GitHub's: lower case, without punctuation, blanks as hyphens; the second of a name has -1. */
function anchors(page: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const [, title = ""] of page.replaceAll(/^```.*?^```/gms, "").matchAll(/^#{1,6} +(.+)$/gm)) {
    const plain = title
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .trim()
      .toLowerCase();
    const slug = plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(/\s/g, "-");
    let name = slug;
    for (let again = 1; found.has(name); again++) name = `${slug}-${again}`;
    found.add(name);
  }
  return found;
}

/** The links of a page that lead nowhere. */
function broken(path: string, page: string): string[] {
  const links = [...prose(page).matchAll(LINK)].map(([, link = ""]) => link);
  return links.filter((link) => {
    const [file = "", anchor] = link.split("#");
    const target = join(dirname(path), file);
    if (!existsSync(target)) return true;
    return anchor !== undefined && !anchors(file === "" ? page : readFileSync(target, "utf8")).has(anchor);
  });
}

test.each(pages)("%s leads nowhere else", (path) => {
  expect(broken(path, readFileSync(path, "utf8"))).toEqual([]);
});

describe("a link is found out", () => {
  const page = "# One thing\n\n```\n# no heading\n[no](link)\n```\n\n## `two` things, said\n\n## One thing\n";

  test.each(["[a](nowhere.md)", "[a](#no-heading)", "[a](README.md#nothing-of-the-kind)", "[a](docs/none/)"])(
    "%s",
    (link) => {
      expect(broken("page.md", `${page}${link}\n`)).toHaveLength(1);
    },
  );

  test.each([
    "[a](README.md)",
    "[a](docs)",
    "[a](#one-thing)",
    "[a](#two-things-said)",
    "[a](#one-thing-1)",
    "`[a](b)`",
  ])("but not %s", (link) => {
    expect(broken("page.md", `${page}${link}\n`)).toEqual([]);
  });
});
