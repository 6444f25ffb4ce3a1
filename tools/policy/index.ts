/** The verbs about policy. */
export { graphCommand } from "./graph.ts";
export { planCommand } from "./plan.ts";
export { whyCommand } from "./why.ts";
