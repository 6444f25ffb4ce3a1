/** The console: logs in, follows the live view, and asks before it does anything. */
import { Charts } from "./charts.js";
import { Announcer, byId, el, Keyed, setAttribute, setText } from "./dom.js";
import { draw, rate } from "./topology.js";

const EVENTS = 500;
const STATES = [
  "idle",
  "plan-verified",
  "manifest-verified",
  "policy-ok",
  "fetching",
  "digest-ok",
  "staged",
  "probation",
  "committed",
  "rolled-back",
  "rejected",
];
const RUNNING = new Set(["idle", "running", "suspended"]);
const ACTIONS = {
  restart:
    "It is stopped and starts afresh from its last good state. Whoever calls it meanwhile is told that it is gone.",
  hold: "It is stopped and stays so until somebody resumes or restarts it.",
  resume: "It starts again from its last good state.",
};

const announcer = new Announcer(byId("announcer"));
const modules = new Keyed(byId("modules"), (module) => new ModuleCard(module));
const routes = new Keyed(byId("routes"), () => new Row(7));
const entries = new Keyed(byId("entries"), () => new Row(6));
const attempts = new Keyed(byId("attempts"), () => new Line());
const states = new Keyed(byId("states"), () => new Line());
const charts = new Charts(byId("charts"));
const known = new Map();
let stream;

class Line {
  element = el("li");
  update(text) {
    setText(this.element, text);
  }
}

class Row {
  #cells;
  constructor(length) {
    this.#cells = Array.from({ length }, () => el("td"));
    this.element = el("tr", {}, ...this.#cells);
  }
  update({ cells }) {
    cells.forEach((text, index) => setText(this.#cells[index], text));
  }
}

/** One module: what it is, may, uses and does, and a button for each action. */
class ModuleCard {
  #name;
  #state = el("span", { class: "state" });
  #reason = el("p");
  #fields = new Map();
  #list = el("dl");
  #authority = el("ul", { class: "lines" });
  #grants;
  #fuel = el("meter", { min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0, "aria-label": "share of the fuel limit" });
  #memory = el("meter", {
    min: 0,
    max: 1,
    low: 0.8,
    high: 0.95,
    optimum: 0,
    "aria-label": "share of the memory limit",
  });
  #buttons = new Map();

  constructor({ name }) {
    this.#name = name;
    this.#grants = new Keyed(this.#authority, () => new Line());
    const id = `module-${cardNumber++}`;
    for (const field of [
      "Version",
      "Partition",
      "Messages",
      "Fuel",
      "Memory",
      "Waiting",
      "Restarts",
      "Denied",
      "Last fault",
      "Capsule",
    ]) {
      const value = el("dd");
      const text = el("span");
      value.append(text);
      if (field === "Fuel") value.append(" ", this.#fuel);
      if (field === "Memory") value.append(" ", this.#memory);
      this.#fields.set(field, text);
      this.#list.append(el("dt", {}, field), value);
    }
    for (const action of Object.keys(ACTIONS)) {
      const label = action[0].toUpperCase() + action.slice(1);
      const button = el("button", { type: "button", "aria-label": `${label} ${name}` }, label);
      button.addEventListener("click", () => void act(action, name));
      this.#buttons.set(action, button);
    }
    const title = el("h3", { id }, name, " ", this.#state);
    const details = el("details", {}, el("summary", {}, "Authority"), this.#authority);
    const buttons = el("div", { class: "buttons" }, ...this.#buttons.values());
    this.element = el(
      "li",
      { class: "card", "aria-labelledby": id },
      title,
      this.#reason,
      this.#list,
      details,
      buttons,
    );
  }

  update(module) {
    const { state, lastFault, authority } = module;
    setText(this.#state, module.isThrottled ? `${state}, throttled` : state);
    setAttribute(this.#state, "data-tone", toneOf(module));
    setText(this.#reason, module.reason);
    const texts = {
      Version: `${module.version}, generation ${module.generation}`,
      Partition: `${module.partition}, policy ${module.policy}`,
      Messages: `${module.activations} handled, ${perSecond(module.activationsPerSecond)}`,
      Fuel: `${perSecond(module.fuelPerSecond)} of ${count(module.fuelLimitPerSecond)}`,
      Memory: `${bytes(module.memoryBytes)} of ${bytes(module.memoryLimitBytes)}`,
      Waiting: `${module.queued}, for ${Math.round(module.waitingMs)} ms, lost ${module.lost}`,
      Restarts: `${module.restarts}, faults ${module.faults}`,
      Denied: String(module.denials),
      "Last fault": lastFault === null ? "none" : `${clock(lastFault.time)} ${lastFault.cause}: ${lastFault.text}`,
      Capsule: lastFault?.capsule ?? "none",
    };
    for (const [field, text] of Object.entries(texts)) setText(this.#fields.get(field), text);
    this.#fuel.value = share(module.fuelPerSecond, module.fuelLimitPerSecond);
    this.#memory.value = share(module.memoryBytes, module.memoryLimitBytes);
    const grants = authority.map(
      ({ slot, interface: name, rights, resource }) => `${slot}: ${name} ${rights.join(", ")}: ${resource}`,
    );
    this.#grants.show(grants.length === 0 ? ["It may do nothing but compute."] : grants, (text) => text);
    const isHeld = state === "held";
    this.#buttons.get("resume").disabled = !isHeld;
    this.#buttons.get("hold").disabled = isHeld;
    for (const button of this.#buttons.values()) if (state === "refused") button.disabled = true;
  }
}

let cardNumber = 0;

function toneOf({ state, isThrottled, lastFault }) {
  if (!RUNNING.has(state)) return state === "held" ? "warn" : "bad";
  return isThrottled || (lastFault !== null && Date.now() - lastFault.time < 60_000) ? "warn" : "good";
}

function show(snapshot) {
  const { gateway, hosts, updates, chain } = snapshot;
  setText(byId("gateway"), `${gateway.id} (${gateway.vendor}, ${gateway.class})`);
  document.title = `${gateway.id}: Bulkhead`;
  const processes = hosts.map(({ process, state }) => `${process} ${state}`).join(", ");
  const held = snapshot.modules.filter((module) => !RUNNING.has(module.state)).length;
  const well =
    held === 0
      ? `all ${snapshot.modules.length} modules run`
      : `${held} of ${snapshot.modules.length} modules do not run`;
  setText(
    byId("summary"),
    `${gateway.state} since ${new Date(gateway.startedAt).toLocaleString()}; ${well}; ${processes}`,
  );
  announce(snapshot.modules);
  draw(byId("drawing"), snapshot, toneOf);
  modules.show(snapshot.modules, ({ name }) => name);
  routes.show(snapshot.routes.map(routeRow), ({ key }) => key);
  byId("no-readings").hidden = snapshot.readings.length > 0;
  charts.show(snapshot.readings);
  showUpdates(updates);
  showChain(chain);
}

/** Screen readers are told of changes of state, and of nothing that changes each second. */
function announce(list) {
  for (const { name, state } of list) {
    const now = RUNNING.has(state) ? "running" : state;
    if (known.has(name) && known.get(name) !== now) announcer.say(`${name} is ${now}`);
    known.set(name, now);
  }
}

function routeRow({ from, slot, to, perSecond: per, sent, refused, dropped, queued }) {
  const key = `${from}.${slot} ${to}`;
  return { key, cells: [`${from}.${slot}`, to, per === null ? "" : rate(per), sent, refused, dropped, queued] };
}

function showUpdates(updates) {
  const [newest] = updates;
  byId("no-updates").hidden = newest !== undefined;
  const reached = newest === undefined ? -1 : STATES.indexOf(newest.state);
  states.show(STATES, (state) => state);
  [...byId("states").children].forEach((element, index) => {
    setAttribute(element, "aria-current", index === reached ? "step" : null);
    element.classList.toggle("passed", index < reached && reached <= STATES.indexOf("committed"));
  });
  const lines = updates.map(
    ({ time, plan, state, percent, code, reason }) =>
      `${clock(time)} plan ${plan.slice(0, 12)}: ${state} ${percent}% ${code} ${reason}`,
  );
  attempts.show(lines, (text) => text);
}

function showChain({ state, verified, last, reason }) {
  const texts = {
    whole: `The chain is whole: ${last} entries were walked, to the signed head.`,
    walking: `The chain is being walked: ${verified} of ${last} entries so far.`,
    broken: `The chain is BROKEN: ${reason}`,
    unknown: "There is no audit log.",
  };
  setText(byId("chain"), texts[state] ?? state);
  byId("chain").classList.toggle("level-0", state === "broken");
}

function showHistory({ entries: list, missed }) {
  const element = byId("events");
  const scroll = element.parentElement;
  const isAtEnd = scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight - 8;
  if (missed > 0) element.append(el("li", {}, `… ${missed} events were gone before they could be shown`));
  for (const { time, level, text } of list)
    element.append(el("li", { class: `level-${Number(level)}` }, `${clock(time)} ${text}`));
  while (element.children.length > EVENTS) element.firstElementChild.remove();
  if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
}

async function showAudit() {
  const about = byId("about").value;
  const response = await fetch(`/api/audit?${new URLSearchParams({ about })}`);
  if (!response.ok) return;
  const page = await response.json();
  const rows = page.entries.toReversed().map(({ sequence, time, kind, source, subject, detail }) => ({
    key: sequence,
    cells: [sequence, new Date(time).toLocaleString(), kind, source, subject, detail === "{}" ? "" : detail],
  }));
  entries.show(rows, ({ key }) => key);
  showChain(page.chain);
}

/** Asks first; the answer is said, and the audit shows it. */
async function act(action, name) {
  const dialog = byId("confirm");
  const label = action[0].toUpperCase() + action.slice(1);
  setText(byId("confirm-title"), `${label} ${name}?`);
  setText(byId("confirm-text"), ACTIONS[action]);
  setText(byId("confirm-yes"), label);
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  const response = await post(`/api/modules/${encodeURIComponent(name)}/${action}`, {});
  if (response.ok) {
    trouble("");
    announcer.say(`${name}: ${action} was ordered`);
  } else trouble(`${label} ${name}: ${(await response.text()).trim()}`);
  await showAudit();
}

function post(path, body) {
  const headers = { "content-type": "application/json", "x-bulkhead": "1" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
}

function trouble(text) {
  const element = byId("trouble");
  element.hidden = text === "";
  setText(element, text);
}

function follow() {
  stream?.close();
  stream = new EventSource("/api/stream");
  stream.addEventListener("snapshot", ({ data }) => {
    trouble("");
    show(JSON.parse(data));
  });
  stream.addEventListener("history", ({ data }) => showHistory(JSON.parse(data)));
  stream.addEventListener("trouble", ({ data }) => trouble(JSON.parse(data).text));
  stream.addEventListener("error", () => {
    trouble("The connection to the gateway is lost; it is tried again.");
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => void begin(), 3000);
  });
}

async function begin() {
  const isLoggedIn = await fetch("/api/session")
    .then((response) => response.json())
    .then((session) => session.isLoggedIn === true)
    .catch(() => undefined);
  if (isLoggedIn === undefined) {
    trouble("The gateway does not answer; it is tried again.");
    setTimeout(() => void begin(), 3000);
    return;
  }
  byId("login").hidden = isLoggedIn;
  byId("page").hidden = !isLoggedIn;
  byId("sections").hidden = !isLoggedIn;
  if (!isLoggedIn) {
    trouble("");
    byId("token").focus();
    return;
  }
  byId("events").replaceChildren();
  follow();
  await showAudit();
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  void post("/api/login", { token: byId("token").value.trim() }).then(async (response) => {
    byId("token").value = "";
    setText(byId("login-answer"), response.ok ? "" : (await response.text()).trim());
    if (response.ok) await begin();
  });
});
byId("logout").addEventListener("click", () => {
  stream?.close();
  void post("/api/logout", {}).then(begin);
});
byId("audit-filter").addEventListener("submit", (event) => {
  event.preventDefault();
  void showAudit();
});

function clock(time) {
  return new Date(time).toLocaleTimeString();
}

function perSecond(value) {
  return value === null ? "…" : `${count(value)}/s`;
}

function count(value) {
  if (value < 10_000) return value < 10 ? String(Number(value.toFixed(1))) : String(Math.round(value));
  return value < 10_000_000 ? `${Math.round(value / 1000)}k` : `${Math.round(value / 1_000_000)}M`;
}

function bytes(value) {
  return value < 1_048_576 ? `${Math.ceil(value / 1024)} KiB` : `${(value / 1_048_576).toFixed(1)} MiB`;
}

function share(value, limit) {
  return limit === 0 || value === null ? 0 : Math.min(1, value / limit);
}

await begin();
