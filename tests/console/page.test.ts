/** The page in a real browser: who it lets in, what it shows and to whom, and that it asks before it acts. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Browser, Page, TestWeb } from "./support.ts";
import { NO_BROWSER, openBrowser, startWeb, TOKEN, until } from "./support.ts";

const NARROW = { width: 360, height: 740 };

let browser: Browser;
let web: TestWeb;
let page: Page;
let errors: string[];

async function open(options: Parameters<Browser["newContext"]>[0] = {}): Promise<void> {
  const context = await browser.newContext(options);
  page = await context.newPage();
  errors = [];
  page.on("pageerror", (error) => errors.push(error instanceof Error ? error.message : "an error"));
  page.on("console", (message) => {
    const text = message.text?.() ?? "";
    if (/Content Security Policy|TrustedHTML/.test(text)) errors.push(text);
  });
  page.on("dialog", () => errors.push("a dialog of a script"));
  await page.goto(web.url);
}

async function logIn(): Promise<void> {
  await page.waitForSelector("#login");
  await page.fill("#token", TOKEN);
  await page.click("#login button");
  await page.waitForSelector("#modules .card", { timeout: 20_000 });
}

describe.skipIf(NO_BROWSER !== "")(
  `the page in Chromium${NO_BROWSER === "" ? "" : ` (skipped: ${NO_BROWSER})`}`,
  () => {
    beforeAll(async () => {
      browser = await openBrowser();
    }, 180_000);
    afterAll(async () => {
      await browser.close();
    });
    beforeEach(async () => {
      web = await startWeb();
    });
    afterEach(async () => {
      await page.close();
      await web.stop();
      expect(errors).toEqual([]);
    });

    test("lets nobody in with a wrong token, says so, and shows everything with the right one", async () => {
      await open();
      await page.waitForSelector("#login");
      await page.fill("#token", "wrong");
      await page.click("#login button");
      await until(page, "document.getElementById('login-answer').textContent.includes('not the token')");
      expect(await page.isVisible("#page")).toBe(false);
      await logIn();
      expect(await page.textContent("#gateway")).toBe("gw-7 (bulkhead.example, raspberry-pi)");
      const card = (await page.textContent("#modules .card")) ?? "";
      for (const shown of [
        "bme280",
        "idle",
        "100 handled",
        "192 KiB of 1.0 MiB",
        "120k/s of 1000k",
        "sensor: i2c-device",
      ]) {
        expect(card).toContain(shown);
      }
      expect(await page.textContent("#drawing")).toMatch(/drivers.*services.*4\.2\/s.*bme280/s);
      expect(await page.textContent("#charts")).toContain("21.5 °C");
      await page.waitForSelector("#charts canvas", { state: "attached" });
      await until(page, "document.getElementById('events').textContent.includes('hello')");
      expect(await page.textContent("#chain")).toContain("whole");
      await until(page, "document.getElementById('entries').textContent.includes('restart')");
    }, 120_000);

    test("follows what changes, and tells screen readers of changes of state only", async () => {
      await open();
      await logIn();
      const [first, ...others] = web.core.snapshot.modules;
      if (first === undefined) throw new Error("there is no module");
      const lastFault = { time: Date.now(), generation: 1, cause: "trap", text: "unreachable", capsule: "capsules/1" };
      const held = { ...first, state: "held", reason: "it failed too often", restarts: 5, lastFault };
      web.core.snapshot = { ...web.core.snapshot, modules: [held, ...others] };
      await until(page, "document.querySelector('#modules .card').textContent.includes('it failed too often')");
      expect(await page.textContent("#modules .card")).toMatch(/trap: unreachable.*capsules\/1/);
      await until(page, "document.getElementById('announcer').textContent === 'bme280 is held'");
      const state = { time: Date.now(), plan: "ab12", percent: 40, code: "", reason: "" };
      web.core.snapshot = { ...web.core.snapshot, updates: [{ ...state, state: "fetching" }] };
      await until(page, "document.querySelector('#states [aria-current]')?.textContent === 'fetching'");
    }, 120_000);

    test("does nothing to a module before it was confirmed, with the mouse or the keyboard", async () => {
      await open();
      await logIn();
      await page.click('button[aria-label="Restart bme280"]');
      await page.waitForSelector("#confirm[open]");
      expect(await page.textContent("#confirm-title")).toBe("Restart bme280?");
      await page.keyboard.press("Escape");
      await until(page, "!document.getElementById('confirm').open");
      expect(web.core.acts).toEqual([]);
      // Focus is back where it was, and Enter opens the question again; Tab goes from Cancel to the action.
      await until(page, "document.activeElement?.getAttribute('aria-label') === 'Restart bme280'");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#confirm[open]");
      expect(await page.evaluate("document.activeElement.value")).toBe("no");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await until(page, "document.getElementById('announcer').textContent.includes('restart was ordered')");
      expect(web.core.acts).toEqual([{ kind: "act", action: "restart", module: "bme280", by: "127.0.0.1" }]);
      expect(await page.getAttribute('button[aria-label="Resume bme280"]', "disabled")).not.toBeNull();
    }, 120_000);

    test("shows scripts in names, lines, messages, faults and audit entries as text", async () => {
      const script = `<img src=x onerror="alert(1)"><script>alert(2)</script>"><svg onload=alert(3)>`;
      const { snapshot } = web.core;
      const lastFault = { time: Date.now(), generation: 1, cause: script, text: script, capsule: script };
      const authority = [{ slot: script, interface: script, rights: [script], resource: script }];
      const modules = snapshot.modules.map((module) => ({
        ...module,
        name: `${module.name}${script}`,
        lastFault,
        authority,
      }));
      const route = { slot: script, from: modules[0]?.name ?? "", to: `${script}.x` };
      web.core.snapshot = {
        ...snapshot,
        gateway: { ...snapshot.gateway, id: script },
        modules,
        partitions: snapshot.partitions.map((partition) => ({ ...partition, name: partition.name })),
        routes: snapshot.routes.map((each) => ({ ...each, ...route })),
        readings: snapshot.readings.map((reading) => ({
          ...reading,
          topic: script,
          quantity: script,
          unit: script,
          module: script,
        })),
        updates: [{ time: 1, plan: script, state: "rejected", percent: 0, code: script, reason: script }],
        hosts: [{ process: script, state: script, text: script }],
      };
      web.core.logText = script;
      web.core.auditDetail = script;
      await open();
      await logIn();
      await until(page, "document.getElementById('events').textContent.includes('onerror')");
      await until(page, "document.getElementById('entries').textContent.includes('onerror')");
      for (const place of ["#gateway", "#modules", "#charts", "#attempts", "#summary", "#drawing", "#routes"]) {
        expect(await page.textContent(place), place).toContain("<img src=x oner");
      }
      const made = "document.querySelectorAll('img, script:not([src]), svg[onload], [onerror]').length";
      expect(await page.evaluate(made)).toBe(0);
      expect(errors).toEqual([]);
    }, 120_000);

    test("fits a phone: nothing is cut off, and what is touched is large enough", async () => {
      await open({ viewport: NARROW, colorScheme: "dark" });
      await logIn();
      expect(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).toBe(true);
      const small =
        "[...document.querySelectorAll('button')].filter((b) => b.offsetParent && b.offsetHeight < 40).length";
      expect(await page.evaluate(small)).toBe(0);
      expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe("rgb(13, 17, 23)");
    }, 120_000);

    test("has a name for everything that is used, and text that can be told from what is behind it", async () => {
      for (const colorScheme of ["light", "dark"] as const) {
        await open({ colorScheme });
        await logIn();
        const nameless = `[...document.querySelectorAll('button, input, meter, section, main, [role=region], nav, dialog')].filter((e) =>
        !(e.textContent.trim() && e.matches('button')) && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby') && !e.labels?.length).length`;
        expect(await page.evaluate(nameless)).toBe(0);
        expect(await page.evaluate(CONTRAST), colorScheme).toBeGreaterThanOrEqual(4.5);
        if (colorScheme === "light") await page.close();
      }
    }, 120_000);

    test("asks for the token again after the log-out, and its cookie is of no use to scripts or other sites", async () => {
      const context = await browser.newContext();
      page = await context.newPage();
      errors = [];
      await page.goto(web.url);
      await logIn();
      expect(await context.cookies()).toMatchObject([{ name: "bulkhead", httpOnly: true, sameSite: "Strict" }]);
      expect(await page.evaluate("document.cookie")).toBe("");
      await page.click("#logout");
      await page.waitForSelector("#login");
      expect(await page.isVisible("#page")).toBe(false);
      expect(await context.cookies()).toEqual([]);
    }, 120_000);
  },
);

/** The smallest contrast ratio (WCAG 2.2, 1.4.3) of the colours of text on their cards and on the page. */
const CONTRAST = `(() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)/.test(c)) return c; }
    return 'rgb(255, 255, 255)';
  };
  const ratios = [...document.querySelectorAll('h1, h2, h3, p, dd, dt, td, th, a, button:not(:disabled), .states li')]
    .filter((e) => e.offsetParent && e.textContent.trim())
    .map((e) => [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((a, b) => b - a))
    .map(([a, b]) => (a + 0.05) / (b + 0.05));
  return Math.min(...ratios);
})()`;
