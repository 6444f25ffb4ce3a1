/** Text of modules, brokers and files, made safe to write to a terminal: what it would obey is shown instead. */

/** Control characters, line and paragraph separators, and the marks that turn the direction of writing. */
const OBEYED = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** One line; each character that a terminal or a reader's eye would obey becomes its `\u` escape. */
export function escapeControls(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(OBEYED, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
