/** The device process (zone 2): buses, lines and granted files. Started by the core, over descriptor 3. */
import { exitAtOnce, runHostProcess } from "../wire/host-process.ts";
import { configureDevices } from "./configure.ts";

runHostProcess(configureDevices, exitAtOnce);
