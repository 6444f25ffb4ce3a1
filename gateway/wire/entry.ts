/** Where the code of a host process lies. */
import { sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The entry script of a host process of this package, in TypeScript or compiled, and what holds its code: the checkout,
 * or the folder node_modules that Bulkhead and its packages were installed into.
 */
export function hostEntry(name: "device" | "link"): { readonly entry: string; readonly root: string } {
  const isCompiled = import.meta.url.endsWith(".js");
  const here = fileURLToPath(new URL(isCompiled ? "../../../" : "../../", import.meta.url));
  const installed = here.lastIndexOf(`${sep}node_modules${sep}`);
  return {
    entry: fileURLToPath(new URL(`../${name}/main.${isCompiled ? "js" : "ts"}`, import.meta.url)),
    root: installed < 0 ? here : here.slice(0, installed + `${sep}node_modules${sep}`.length),
  };
}
