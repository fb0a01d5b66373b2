// Keeps what is seen up to date, and saves loading pages anew. Every page can be read, and every answer
// given, without it. What it puts on a page was made by the host as HTML, with all words of others escaped.
"use strict";

const base = document.body.dataset.base;
// What came up so shortly before a click was not what was meant.
const GUARD = 500;

const one = (query, of = document) => of.querySelector(query);
const all = (query, of = document) => [...of.querySelectorAll(query)];

const get = async (path) => {
  const response = await fetch(path, { credentials: "same-origin" });
  if (!response.ok) throw new Error(String(response.status));
  return response.text();
};

const parsed = (html) => {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content;
};

// Times of day, as they are where the person is.
const localTimes = (of) => {
  for (const time of all("time[datetime]:not([title])", of)) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.dateTime;
    const isToday = at.toDateString() === new Date().toDateString();
    time.textContent = isToday ? at.toLocaleTimeString() : at.toLocaleString();
  }
};

const say = (words, isBad = false) => {
  const notices = one("#notices");
  if (!notices || !words) return;
  const notice = document.createElement("p");
  notice.className = isBad ? "warn" : "notice";
  notice.textContent = words;
  notices.replaceChildren(notice);
};

// A card is new: for a moment nothing on it can be pressed.
const guard = (card) => {
  card.classList.add("fresh");
  const buttons = all("button", card);
  for (const button of buttons) button.disabled = true;
  setTimeout(() => {
    card.classList.remove("fresh");
    for (const button of buttons) button.disabled = false;
  }, GUARD);
};

const cards = one("[data-live=cards]");
let refreshing = Promise.resolve();

const leave = async (card, words) => {
  const hadFocus = card.contains(document.activeElement);
  const after = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  if (hadFocus) (after ?? one("#content")).focus();
  if (words !== undefined) say(words);
};

const refreshCards = async (open) => {
  const known = new Map(all("[data-question]", cards).map((card) => [Number(card.dataset.question), card]));
  for (const [id, card] of known) {
    if (!open.includes(id) && !card.dataset.answering) {
      const words = await get(`${base}/ended/${id}`).catch(() => undefined);
      await leave(card, words);
    }
  }
  if (open.some((id) => !known.has(id))) {
    const fresh = parsed(await get(`${base}/cards`));
    for (const card of all("[data-question]", fresh)) {
      if (!one(`#question-${Number(card.dataset.question)}`)) {
        localTimes(card);
        cards.append(card);
        guard(card);
      }
    }
  }
  const isEmpty = !one("[data-question]", cards);
  one("#nothing").hidden = !isEmpty;
};

const count = (open) => {
  const shown = one("#open-count");
  if (!shown) return;
  shown.textContent = String(open.length);
  shown.hidden = open.length === 0;
  document.title = document.title.replace(/^(\(\d+\) )?/, open.length ? `(${open.length}) ` : "");
};

// What is tried out: shown anew, unless somebody is typing in it.
const trial = one("[data-live=trial]");
const refreshTrial = async () => {
  if (!one(".going", trial)) return;
  const active = document.activeElement;
  if (trial.contains(active) && active.matches("input, textarea, select")) return;
  const fresh = parsed(await get(trial.dataset.from));
  const before = new Set(all("[data-question]", trial).map((card) => card.id));
  localTimes(fresh);
  trial.replaceChildren(fresh);
  for (const card of all("[data-question]", trial)) if (!before.has(card.id)) guard(card);
};

const later = (work) => {
  refreshing = refreshing.then(work).catch(() => {});
};

const connection = one("#connection");
const watch = () => {
  const live = new EventSource(`${base}/live`);
  live.addEventListener("open", () => { connection.textContent = ""; });
  live.addEventListener("error", () => {
    connection.textContent = "The host cannot be reached just now.";
  });
  live.addEventListener("questions", (event) => {
    const open = JSON.parse(event.data);
    count(open);
    if (cards) later(() => refreshCards(open));
    if (trial) later(refreshTrial);
  });
  live.addEventListener("activity", () => { if (rows) later(refreshRows); });
  live.addEventListener("trials", () => { if (trial) later(refreshTrial); });
  addEventListener("pagehide", () => live.close());
};

// Answers go without loading the page anew.
document.addEventListener("submit", async (event) => {
  const card = event.target.closest("[data-question]");
  if (!card) return;
  event.preventDefault();
  if (card.dataset.answering) return;
  card.dataset.answering = "yes";
  const body = new URLSearchParams(new FormData(event.target, event.submitter));
  const buttons = all("button", card);
  for (const button of buttons) button.disabled = true;
  try {
    const response = await fetch(event.target.action, { method: "POST", body, headers: { "X-Script": "yes" } });
    const words = await response.text();
    if (response.ok || response.status === 409) {
      await leave(card, words);
      say(words, !response.ok);
      if (cards) one("#nothing").hidden = Boolean(one("[data-question]", cards));
      if (trial) later(refreshTrial);
      return;
    }
    show(card, response.status === 422 ? words : "This browser is not let in any more: compere console gives a new link.");
  } catch {
    show(card, "The host cannot be reached just now. Nothing was answered.");
  }
  delete card.dataset.answering;
  for (const button of buttons) button.disabled = false;
});

// What is wrong with an answer, on its card.
const show = (card, words) => {
  let warning = one(":scope > .warn", card);
  if (!warning) {
    warning = document.createElement("p");
    warning.className = "warn";
    warning.setAttribute("role", "alert");
    card.append(warning);
  }
  warning.textContent = words;
};

// From one question to the next.
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, textarea, select");
  if (!cards || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { j: 1, k: -1 }[event.key];
  if (!step) return;
  const list = all("[data-question]", cards);
  if (list.length === 0) return;
  const at = list.findIndex((card) => card.contains(document.activeElement));
  const next = at < 0 ? (step > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + step, 0), list.length - 1);
  list[next].focus();
  list[next].scrollIntoView({ block: "nearest" });
});

// What has happened since is put on top, and what came of a call where it is not known yet.
const rows = one("[data-live=rows]");
const refreshRows = async () => {
  if (new URLSearchParams(location.search).has("before")) return;
  const fresh = parsed(await get(`${base}/activity/rows${location.search}`));
  localTimes(fresh);
  const chunk = one(".chunk", rows);
  if (!chunk) return rows.replaceChildren(fresh);
  const newest = Number(one(".row", chunk).dataset.number);
  const added = [];
  for (const row of all(".row", fresh)) {
    const number = Number(row.dataset.number);
    const known = number <= newest && one(`[data-number="${number}"]`, chunk);
    if (number > newest) added.push(row);
    else if (known && "open" in known.dataset) known.replaceWith(row);
  }
  chunk.prepend(...added);
};

// Older rows come as the end of those that are there comes near.
if (rows) {
  const near = new IntersectionObserver(async (seen) => {
    if (!seen.some((of) => of.isIntersecting)) return;
    const more = one(".more", rows);
    const link = more && one("a", more);
    if (!link || link.dataset.asked) return;
    link.dataset.asked = "yes";
    try {
      const fresh = parsed(await get(link.dataset.rows));
      localTimes(fresh);
      more.replaceWith(fresh);
      observe();
    } catch {
      delete link.dataset.asked;
    }
  }, { rootMargin: "1500px" });
  const observe = () => {
    near.disconnect();
    const more = one(".more", rows);
    if (more) near.observe(more);
  };
  observe();
}

localTimes(document);
if (base) watch();
