/** What tools may use of the device process's folder: a look at a bus, from outside and while nothing runs on it. */
export { scanI2c } from "./linux/scan.ts";
