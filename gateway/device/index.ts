/** What tools may use of the device process's folder: looks at buses and settings, from outside and while nothing runs. */
export { checkSimulators } from "./configure.ts";
export { scanI2c } from "./linux/scan.ts";
