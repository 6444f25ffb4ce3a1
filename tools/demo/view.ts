/** What the demo shows: steps as they happen and, on a terminal, the latest readings below them, live. */
import { escapeControls } from "../../gateway/wire/escape.ts";
import type { Io } from "../command.ts";
import type { Subscriber } from "./readings.ts";

const REDRAW_MS = 200;
const CLEAR_LINE = "\u001b[2K";

type Colour = "green" | "red" | "dim" | "bold";
const COLOURS: Readonly<Record<Colour, string>> = { green: "32", red: "31", dim: "2", bold: "1" };

export class View {
  readonly #io: Io;
  readonly #isQuiet: boolean;
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  #subscriber: Subscriber | undefined = undefined;

  /** @param isQuiet with `--json`: nothing but the object goes to stdout. */
  constructor(io: Io, isQuiet: boolean) {
    this.#io = io;
    this.#isQuiet = isQuiet;
  }

  #paint(text: string, colour: Colour): string {
    const shown = escapeControls(text);
    return this.#io.isTerminal ? `\u001b[${COLOURS[colour]}m${shown}\u001b[0m` : shown;
  }

  step(text: string): void {
    this.#write(`\n${this.#paint(text, "bold")}`);
  }

  good(text: string): void {
    this.#write(`  ${this.#paint("ok", "green")}  ${escapeControls(text)}`);
  }

  bad(text: string): void {
    this.#write(`  ${this.#paint("no", "red")}  ${escapeControls(text)}`);
  }

  line(text: string): void {
    this.#write(escapeControls(text));
  }

  #write(painted: string): void {
    if (this.#isQuiet) return;
    this.#erase();
    this.#io.control(`${painted}\n`);
    this.#draw();
  }

  /** From now on the latest readings are shown; without a terminal they are printed once, by `snapshot`. */
  live(subscriber: Subscriber): void {
    this.#subscriber = subscriber;
    if (!this.#io.isTerminal || this.#isQuiet) return;
    this.#timer = setInterval(() => {
      this.#erase();
      this.#draw();
    }, REDRAW_MS);
  }

  /** The table as it is now, as ordinary lines. */
  snapshot(): void {
    if (!this.#io.isTerminal) for (const row of this.#rows()) this.line(`  ${row}`);
  }

  /** Leaves the last table on the screen and draws no more. */
  end(): void {
    clearInterval(this.#timer);
    this.#subscriber = undefined;
    this.#drawn = 0;
  }

  #rows(): string[] {
    if (this.#subscriber === undefined) return [];
    const rows = [...this.#subscriber.latest.values()].sort((left, right) => left.sensor.localeCompare(right.sensor));
    return rows.map(({ sensor, quantity, value, unit, sequence }) => {
      const number = Number.isInteger(value) ? String(value) : value.toFixed(2);
      return `${sensor.padEnd(15)} ${quantity.padEnd(14)} ${number.padStart(12)} ${unit.padEnd(6)} #${sequence}`;
    });
  }

  #draw(): void {
    if (!this.#io.isTerminal || this.#subscriber === undefined) return;
    const rows = this.#rows();
    this.#io.control(rows.map((row) => `${CLEAR_LINE}  ${this.#paint(row, "dim")}\n`).join(""));
    this.#drawn = rows.length;
  }

  #erase(): void {
    if (this.#drawn > 0) this.#io.control(`\u001b[${this.#drawn}A\u001b[0J`);
    this.#drawn = 0;
  }
}
