/** The trust worker's entry: signatures, trust state, module stores and admission, away from the main thread. */

import { parentPort } from "node:worker_threads";
import { TrustService } from "./service.ts";

if (parentPort !== null) new TrustService(parentPort);
