/** How slow the machine under the tests is: their limits are for a laptop, and `npm run arm64 -- vitest` emulates a processor. */

/** Times as long for everything that a test waits for, from BULKHEAD_TEST_PATIENCE: 1 where that is not set. */
export const PATIENCE = Math.max(1, Number(process.env["BULKHEAD_TEST_PATIENCE"]) || 1);

/** The kernel's own: what it does in a straight line meets new code, which an emulator has to translate first. */
export const KERNEL_PATIENCE = PATIENCE === 1 ? 1 : 10 * PATIENCE;

/** A limit in milliseconds as it is on this machine. */
export const patiently = (ms: number): number => ms * PATIENCE;

/** How often what is repeated to find the rare case is repeated on this machine. */
export const repeatedly = (times: number): number => Math.ceil(times / PATIENCE);
