// A person at a browser: what they do on the page of the host, one part after the other. Says what it sees
// as lines of JSON, and goes on when it is told to.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [part, link, chrome, shots] = process.argv.slice(2);
const say = (value) => console.log(JSON.stringify(value));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const told = async () => JSON.parse((await lines.next()).value);

const browser = await chromium.launch({
  executablePath: chrome,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({
  viewport: { width: 1200, height: 900 },
  javaScriptEnabled: part !== "without_script",
});
context.setDefaultTimeout(20000);
const page = await context.newPage();
const wrong = [];
const requests = new Set();
page.on("pageerror", (error) => wrong.push(error.message));
page.on("console", (message) => {
  // An answer that does not count is told with such a status.
  const isSaid = /status of (409|422) /.test(message.text());
  if (message.type() === "error" && !isSaid) wrong.push(message.text());
});
page.on("request", (request) => requests.add(new URL(request.url()).origin));

await page.goto(link);
await page.waitForURL(/\/[0-9a-f]{32}\/$/);
const base = page.url();
const card = (words) => page.locator("[data-question]", { hasText: words }).first();
const gone = (of) => of.waitFor({ state: "detached" });
const notice = async () => page.locator("#notices .notice, #notices .warn").first().innerText();
const button = (name, of = page) => of.getByRole("button", { name, exact: true });
const shot = async (name) => {
  if (shots) await page.screenshot({ path: `${shots}/${part}-${name}.png`, fullPage: true });
};

const parts = {
  // An app asks, and the person says yes, to this once.
  async once() {
    const asked = card("wants probe");
    await asked.waitFor();
    const text = await asked.innerText();
    await shot("asked");
    await button("Allow once", asked).click();
    await gone(asked);
    say({ text, notice: await notice(), title: await page.title() });
  },

  // The same with keys alone, and no.
  async refuse_by_keys() {
    const asked = card("wants probe");
    await asked.waitFor();
    await page.keyboard.press("j");
    const focused = await page.evaluate(() => document.activeElement.dataset.question);
    // The first yes comes before the no; it is passed by.
    await page.waitForTimeout(700);
    let steps = 0;
    while (steps++ < 30) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(() => document.activeElement.name === "reason")) break;
    }
    await page.keyboard.type("not today");
    await page.keyboard.press("Enter");
    await gone(asked);
    say({ focused, steps, notice: await notice() });
  },

  // Other arguments than were asked for.
  async edit() {
    const asked = card("wants probe");
    await asked.waitFor();
    await asked.getByText("Allow more, or something else").click();
    const field = asked.getByLabel("Other arguments, for this once");
    const before = await field.inputValue();
    await field.fill("{ no JSON");
    await button("Allow once with these arguments", asked).click();
    const why = await asked.locator(".warn[role=alert]").innerText();
    await field.fill(before.replace("asked", "edited\\nby hand"));
    await button("Allow once with these arguments", asked).click();
    await gone(asked);
    say({ before, why });
  },

  // A grant, and it is taken back.
  async always() {
    const asked = card("wants probe");
    await asked.waitFor();
    await asked.getByText("Allow more, or something else").click();
    const shape = await asked.getByLabel("All calls for which this holds").inputValue();
    await button("Always allow exactly this", asked).click();
    await gone(asked);
    say({ shape });
    await told();
    await page.goto(`${base}rules`);
    const granted = await page.locator(".grants li").first().innerText();
    await button("Take it back").click();
    await page.getByText("Nothing beyond your rules.").waitFor();
    say({ granted });
  },

  // How a server is started and what it offers.
  async approve() {
    const started = card("be started like this");
    await started.waitFor();
    const facts = await started.innerText();
    await button("Start it like this", started).click();
    const offers = card("offers what you have not approved");
    await offers.waitFor();
    await shot("offers");
    const other = offers.locator(".offered", { hasText: "tool other" });
    await other.getByLabel("leave this out").check();
    const probe = offers.locator(".offered", { hasText: "tool probe" });
    await probe.getByLabel("I know that it only reads").check();
    await button("Approve what is not left out", offers).click();
    await gone(offers);
    say({ facts, notice: await notice() });
  },

  // What a server offers has changed.
  async changed() {
    const offers = card("offers what you have not approved");
    await offers.waitFor();
    await shot("difference");
    const gone = await offers.locator("del").allInnerTexts();
    const fresh = await offers.locator("ins").allInnerTexts();
    const place = await offers.locator(".changes code").first().innerText();
    await button("No", offers).click();
    await page.locator("#notices .notice").waitFor();
    say({ gone, fresh, place });
  },

  // A server that we did not write: a picture, a prompt, resources.
  async everything() {
    const result = page.getByRole("heading", { name: "The result" });
    await page.goto(`${base}servers/everything`);
    const image = page.locator("details.tool", { hasText: "get-tiny-image" }).first();
    await image.locator("summary").first().click();
    await button("Call it", image).click();
    await result.waitFor();
    const picture = await page.locator("main img").evaluate((of) => of.complete && of.naturalWidth > 0);
    await shot("picture");
    await page.goto(`${base}servers/everything`);
    const prompt = page.locator("details.tool", { hasText: "args-prompt" }).first();
    await prompt.locator("summary").first().click();
    await prompt.getByLabel("city").fill("Vienna");
    await button("Get it", prompt).click();
    await page.getByRole("heading", { name: "The prompt" }).waitFor();
    const prompted = await page.locator("main").innerText();
    await page.goto(`${base}servers`);
    await button("Ask all servers for their resources").click();
    await page.locator(".resources li").first().waitFor();
    const count = await page.locator(".resources li").count();
    await shot("resources");
    await page.locator(".resources li").first().getByRole("button").click();
    await page.getByRole("heading", { name: "The resource", exact: true }).waitFor();
    say({ picture, prompted, count, read: await page.locator("main").innerText() });
  },

  // What a model is asked, and what it says, are both changed.
  async sample() {
    const asked = card("wants to ask a model");
    await asked.waitFor();
    const text = await asked.innerText();
    await shot("asked");
    await asked.getByText("Ask something else, or another model").click();
    await asked.locator("textarea[name=message0]").fill("who am I?\nsecond line");
    await asked.getByLabel("At most so many tokens").fill("50");
    await button("Ask this", asked).click();
    const answered = card("has answered");
    await answered.waitFor();
    const answer = await answered.innerText();
    await answered.getByText("Let it see something else").click();
    await answered.locator("textarea[name=answer]").fill("what I let it see");
    await button("Let the server see this", answered).click();
    await gone(answered);
    say({ text, answer });
  },

  async refuse_sample() {
    const asked = card("wants to ask a model");
    await asked.waitFor();
    await asked.getByLabel("because").fill("no models");
    await button("Refuse", asked).click();
    await gone(asked);
    say({});
  },

  // Another one of the person's models.
  async other_model() {
    const asked = card("wants to ask a model");
    await asked.waitFor();
    await asked.getByText("Ask something else, or another model").click();
    const model = asked.getByLabel("Model", { exact: true });
    const others = await model.locator("option").allInnerTexts();
    await model.selectOption({ label: others.at(-1) });
    await button("Ask this", asked).click();
    const answered = card("has answered");
    await answered.waitFor();
    const answer = await answered.innerText();
    await button("Let the server see it", answered).click();
    await gone(answered);
    say({ others, answer });
  },

  // Somebody else answers what is on the screen.
  async slower() {
    const asked = card("wants probe");
    await asked.waitFor();
    say({ id: Number(await asked.getAttribute("data-question")) });
    await gone(asked);
    say({ notice: await notice() });
  },

  // A card that came up just now takes no click, and no key that was meant for something else.
  async too_early() {
    await page.waitForFunction(() => document.querySelector("#nothing:not([hidden])"));
    say({});
    const answered = await page.evaluate(() => new Promise((done) => {
      const seen = new MutationObserver(() => {
        const card = document.querySelector("[data-question]");
        if (!card) return;
        seen.disconnect();
        const yes = card.querySelector("button.yes");
        yes.click();
        yes.form.requestSubmit;
        setTimeout(() => { yes.click(); }, 200);
        setTimeout(() => done({ answering: card.dataset.answering, isThere: card.isConnected }), 400);
      });
      seen.observe(document.querySelector("#cards"), { childList: true });
    }));
    say(answered);
  },

  // A tool is tried, with a form made from its schema.
  async try_tool() {
    await page.goto(`${base}servers/probe`);
    const tool = page.locator("details.tool", { hasText: "formed" }).first();
    const named = await tool.locator("summary").first().innerText();
    await tool.locator("summary").first().click();
    await shot("form");
    await tool.getByLabel("text", { exact: true }).fill("one\ntwo <b>&");
    await tool.getByLabel("number optional").fill("2.5");
    await tool.getByLabel("whole", { exact: true }).fill("7");
    await tool.getByLabel("flag optional").selectOption("yes");
    await tool.getByLabel("choice optional").selectOption("second");
    await tool.getByLabel("lines optional").fill("a\nb");
    await tool.getByLabel("inner text").fill("deep");
    await tool.getByLabel("anything optional").fill("[1, null]");
    await button("Call it", tool).click();
    await page.waitForURL(/trials/);
    const asked = card("console wants formed");
    await asked.waitFor();
    await page.waitForTimeout(700);
    await button("Allow once", asked).click();
    await page.getByRole("heading", { name: "The result" }).waitFor();
    const result = await page.locator("[data-live=trial] pre").first().innerText();
    await shot("result");
    await page.goto(`${base}servers/probe`);
    const again = page.locator("details.tool", { hasText: "formed" }).first();
    await again.locator("summary").first().click();
    await again.getByText("As JSON instead").click();
    await again.getByLabel("All arguments, as a JSON object").fill('{"text": 1}');
    await again.getByLabel("whole", { exact: true }).fill("1");
    await button("Call it", again).click();
    await card("console wants formed").waitFor();
    const json = await card("console wants formed").innerText();
    say({ result, json, named });
  },

  // Words that want to be more than words.
  async hostile() {
    await page.waitForTimeout(500);
    const found = {};
    for (const name of ["", "servers", "servers/probe", "activity", "rules", "audit"]) {
      await page.goto(base + name);
      for (const details of await page.locator("details").all()) {
        await details.evaluate((of) => { of.open = true; });
      }
      await shot(name.replace("/", "-") || "inbox");
      found[name] = await page.evaluate(() => ({
        hacked: typeof window.hacked,
        elements: [...document.querySelectorAll("marquee, iframe, object, embed, img, style, [onerror], [onload], [style]:not([style=''])")].map((of) => of.outerHTML.slice(0, 200)),
        scripts: [...document.scripts].map((script) => script.getAttribute("src")),
        outside: [...document.querySelectorAll("[src], [href], [action]")]
          .map((of) => of.src || of.href || of.action)
          .filter((place) => !String(place).startsWith(location.origin) && !String(place).startsWith("data:,")),
        text: document.body.innerText,
        // What is typed on may hold anything; what is only read may not.
        unseen: /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/u
          .exec(document.body.innerText)?.[0]?.codePointAt(0) ?? null,
      }));
    }
    say(found);
  },

  // Every page, wide and on a phone, light and dark: findings of axe-core, and whether it fits.
  async accessible() {
    const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    const found = [];
    const wide = [];
    let looked = 0;
    await page.waitForTimeout(700);
    for (const name of ["", "servers", "servers/probe", "activity", "rules?server=probe&name=probe", "audit", "trials/999", "answer"]) {
      for (const [scheme, width] of [["light", 1200], ["dark", 1200], ["light", 360]]) {
        await page.emulateMedia({ colorScheme: scheme });
        await page.setViewportSize({ width, height: 800 });
        await page.goto(base + name);
        for (const details of await page.locator("details").all()) {
          await details.evaluate((of) => { of.open = true; });
        }
        await page.waitForTimeout(600);
        await shot(`${name.replace(/\W+/g, "-") || "inbox"}-${scheme}-${width}`);
        // The page's own rules let no other script in; this one is let in by hand.
        const session = await context.newCDPSession(page);
        await session.send("Runtime.evaluate", { expression: axe });
        const findings = await page.evaluate(() => axe.run());
        looked += findings.passes.length;
        for (const violation of findings.violations) {
          found.push({ page: name, scheme, width, id: violation.id, impact: violation.impact, at: violation.nodes.map((node) => node.html.slice(0, 200)) });
        }
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (over > 0) wide.push([name, width, over]);
      }
    }
    say({ found, wide, looked });
  },

  // Read and answered without script.
  async without_script() {
    const asked = card("wants probe");
    await page.reload();
    await asked.waitFor();
    await page.waitForTimeout(700);
    await button("Allow once", asked).click();
    await page.waitForURL(/answered=/);
    const said = await notice();
    say({ said });
    await told();
    const texts = {};
    for (const name of ["servers", "servers/probe", "activity", "rules", "audit"]) {
      await page.goto(base + name);
      texts[name] = await page.locator("main").innerText();
    }
    say({ texts });
  },

  // Another site tries to read, to act, and to show the page within itself.
  async other_site() {
    const asked = card("wants probe");
    await asked.waitFor();
    const id = await asked.getAttribute("data-question");
    const place = new URL(base);
    const cookies = await context.cookies(base);
    const seen = [];
    const site = createServer((request, response) => {
      seen.push(request.headers.cookie ?? "");
      response.setHeader("content-type", "text/html");
      response.end(`<!doctype html><iframe name="within" src="${base}"></iframe>
        <form method="post" action="${base}answer/${id}" target="_self"><input name="say" value="once"></form>
        <script src="${base}cards"></script>`);
    });
    await new Promise((done) => site.listen(0, "127.0.0.1", done));
    const found = {};
    for (const name of ["127.0.0.1", "localhost"]) {
      // Another port of this machine is the same site to a browser.
      const other = await context.newPage();
      const address = `http://${name}:${site.address().port}/`;
      await other.goto(address);
      await other.waitForTimeout(300);
      const frame = other.frames().find((of) => of !== other.mainFrame());
      const within = frame ? await frame.evaluate(() => document.body?.innerText ?? "").catch(() => "") : "";
      const read = await other.evaluate(async (path) => {
        try {
          const response = await fetch(path, { credentials: "include" });
          return await response.text();
        } catch (error) { return "refused"; }
      }, base);
      const opaque = await other.evaluate(async (path) => {
        const body = new URLSearchParams({ say: "once" });
        try { await fetch(path, { method: "POST", body, mode: "no-cors", credentials: "include" }); } catch { return "refused"; }
        return "sent";
      }, `${base}answer/${id}`);
      const [answer] = await Promise.all([
        other.waitForResponse((response) => response.request().method() === "POST"),
        other.evaluate(() => document.forms[0].submit()),
      ]);
      found[name] = { within, read, opaque, status: answer.status() };
      await other.close();
    }
    site.close();
    say({ found, seen, key: cookies.map((cookie) => cookie.value), still: await asked.isVisible(), host: place.host });
  },

  // All there is to scroll through.
  async many_rows() {
    await page.goto(`${base}activity`);
    await page.evaluate(() => {
      window.longest = 0;
      window.tasks = 0;
      new PerformanceObserver((list) => {
        for (const task of list.getEntries()) {
          window.longest = Math.max(window.longest, task.duration);
          window.tasks += 1;
        }
      }).observe({ entryTypes: ["longtask"] });
    });
    for (let turn = 0; turn < 2000; turn++) {
      await page.mouse.wheel(0, 4000);
      await page.waitForTimeout(10);
      if (!(await page.locator(".more").count())) break;
    }
    const rows = await page.locator(".row").count();
    // And back up, with all of them there.
    for (let turn = 0; turn < 100; turn++) {
      await page.mouse.wheel(0, -20000);
      await page.waitForTimeout(10);
    }
    const { longest, tasks } = await page.evaluate(() => ({ longest, tasks }));
    say({ rows, longest, tasks });
  },

  // What happens is seen as it happens.
  async activity() {
    await page.goto(`${base}activity`);
    say({ before: await page.locator(".row").count() });
    await page.locator(".row", { hasText: "seen live" }).first().waitFor();
    await page.locator(".row", { hasText: "its outcome is not known" }).first().waitFor();
    say({ open: true });
    await page.locator(".row", { hasText: "withdrawn by the app" }).first().waitFor();
    const text = await page.locator(".row").first().innerText();
    await page.getByLabel("Words").fill("live");
    await button("Show").click();
    await page.waitForURL(/words=live/);
    say({ text, found: await page.locator(".row").count(), plot: await page.locator("figcaption").innerText() });
  },

  // The log is verified, and taken along.
  async audit() {
    await page.goto(`${base}audit`);
    await button("Verify all of it").click();
    const verdict = await page.locator("[role=status].notice, [role=status].warn").innerText();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByText("All records, a JSON object a line").click(),
    ]);
    say({ verdict, exported: readFileSync(await download.path(), "utf8") });
  },

  // A server's folders are changed, and a failed one is tried again.
  async roots() {
    await page.goto(`${base}servers/probe`);
    await button("Start it and see what it is kept from").click();
    await page.getByRole("heading", { name: "was kept from" }).waitFor();
    const learned = await page.locator("main").innerText();
    await page.getByText("Back to probe").click();
    const { folder } = await told();
    await page.getByLabel("Another folder").fill(folder);
    await button("Add").click();
    await page.locator(".roots code", { hasText: folder }).waitFor();
    const waits = await card("be started like this").innerText();
    await page.getByLabel("Another folder").fill("/no/such/folder");
    await button("Add").click();
    const why = await page.locator("main").innerText();
    say({ waits, why, learned });
  },
};

await parts[part]();
say({ wrong, requests: [...requests], own: new URL(base).origin });
await browser.close();
process.exit(0);
