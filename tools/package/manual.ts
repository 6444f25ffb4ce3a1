/** The manual page bulkhead(1), made of what each verb says of itself with `--help`. */
import type { Command } from "../command.ts";

/** A backslash begins a request, and so does a dot or quote at the beginning of a line; a bare hyphen would become a dash. */
export function escapeRoff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replace(/^\./gm, "\\&.");
}

/** Help is laid out for a terminal: it is shown as it stands. */
function asTyped(text: string): string {
  return [".nf", escapeRoff(text.trim()), ".fi"].join("\n");
}

export function manualPage(commands: readonly Command[], version: string, date: string): string {
  const verbs = commands.map(({ name, summary }) => `.TP\n.B ${escapeRoff(name)}\n${escapeRoff(summary)}`);
  const sections = commands.map(({ name, help }) => `.SS bulkhead ${escapeRoff(name)}\n${asTyped(help)}`);
  return `${[
    `.TH BULKHEAD 1 "${date}" "bulkhead ${version}" "User Commands"`,
    ".SH NAME",
    "bulkhead \\- a microkernel for IoT gateways whose processes are WebAssembly modules",
    ".SH SYNOPSIS",
    ".B bulkhead",
    ".I verb",
    "[options]",
    ".SH VERBS",
    ...verbs,
    ".SH EXIT STATUS",
    "0 success, 1 failure, 2 wrong usage or a configuration that is not valid; 3 where",
    ".B doctor",
    "found something that should be looked at.",
    ".SH FILES",
    ".TP",
    ".I /etc/bulkhead/gateway.yaml",
    "the configuration; files in",
    ".I /etc/bulkhead/gateway.d/",
    "are read before it",
    ".TP",
    ".I /etc/bulkhead/root.envelope",
    "the root that the gateway trusts first",
    ".TP",
    ".I /var/lib/bulkhead/",
    "everything that the gateway keeps",
    ".TP",
    ".I /usr/share/bulkhead/gateway\\-schema.json",
    "JSON Schema of the configuration",
    ".SH DETAILS",
    ...sections,
    ".SH SEE ALSO",
    ".I /usr/share/doc/bulkhead/",
  ].join("\n")}\n`;
}
