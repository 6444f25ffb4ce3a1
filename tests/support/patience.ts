/** How slow the machine under the tests is: their limits are for a laptop, and `npm run arm64 -- vitest` emulates a processor. */

/** Times as long for everything that a test waits for, from BULKHEAD_TEST_PATIENCE: 1 where that is not set. */
export const PATIENCE = Math.max(1, Number(process.env["BULKHEAD_TEST_PATIENCE"]) || 1);

/** A limit in milliseconds as it is on this machine. */
export const patiently = (ms: number): number => ms * PATIENCE;
