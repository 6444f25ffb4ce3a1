/** Completion for bash, made of the same table as `bulkhead --help`: the verbs, and the options that each one's help names. */
import type { Command } from "../command.ts";

const OPTION = /(?<![\w-])--[a-z][a-z0-9-]*/g;

/** The long options that a help text names, in its order. */
export function optionsOf(help: string): string[] {
  return [...new Set([...help.matchAll(OPTION)].map(([option]) => option)), "--help"].filter(
    (option, index, all) => all.indexOf(option) === index,
  );
}

export function bashCompletion(commands: readonly Command[]): string {
  const cases = commands.map(({ name, help }) => `    ${name}) options="${optionsOf(help).join(" ")}" ;;`);
  return `# bash completion for bulkhead
_bulkhead() {
  local word=\${COMP_WORDS[COMP_CWORD]} options=
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "${commands.map(({ name }) => name).join(" ")} --help --version" -- "$word")
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join("\n")}
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _bulkhead bulkhead
`;
}
