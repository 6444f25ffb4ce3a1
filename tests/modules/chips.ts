/** The simulated chips of the device process as the fakes of a slot: byte by byte and bit by bit, without a bus between. */
import type { I2cChip, SpiChip } from "../../gateway/device/simulator/chip.ts";
import type { FakeSlot } from "../../tools/testkit/module-host.ts";

/** A chip at its address of an I2C bus. */
export function i2cFake(chip: I2cChip): FakeSlot {
  const write = (bytes: Uint8Array) => {
    for (const byte of bytes) chip.write(byte);
  };
  return {
    write: ({ bytes }) => {
      chip.start(false);
      write(bytes[0] ?? new Uint8Array());
      chip.stop();
      return 0;
    },
    "write-read": ({ bytes, capacity }) => {
      chip.start(false);
      write(bytes[0] ?? new Uint8Array());
      chip.start(true);
      const answer = Uint8Array.from({ length: capacity }, () => chip.read());
      chip.stop();
      return answer;
    },
  };
}

/** A chip at its select line of an SPI bus, most significant bit first. */
export function spiFake(chip: SpiChip): FakeSlot {
  const byte = (out: number) => {
    let answer = 0;
    for (let bit = 7; bit >= 0; bit--) answer = (answer << 1) | chip.clock(((out >> bit) & 1) as 0 | 1);
    return answer;
  };
  return {
    transfer: ({ bytes }) => {
      chip.select();
      return (bytes[0] ?? new Uint8Array()).map(byte);
    },
  };
}
