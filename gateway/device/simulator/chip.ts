/** What a simulated I2C chip is: a thing on the wire that sees starts, bytes and stops, as the silicon does. */

/** A chip at one address. */
export interface I2cChip {
  readonly name: string;
  /** The chip was addressed; false does not acknowledge. */
  start(isRead: boolean): boolean;
  /** One byte from the master; false does not acknowledge it. */
  write(byte: number): boolean;
  /** The next byte for the master. */
  read(): number;
  stop(): void;
  /** Turns a simulated quantity live; false where the chip has none of that name. */
  set(quantity: string, script: unknown): boolean;
}

/** Milliseconds on a clock of the simulation's choosing. */
export type SimulatorClock = () => number;
