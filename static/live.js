// Live pages and keyboard. Pages are complete without it: it fetches the page anew when something happened, and exchanges the parts
// that carry data-live.
const body = document.body;
const sign = document.getElementById("live");
let source = null, last = Number(body.dataset.event || 0), dirty = false, busy = false, lost = 0;

function say(on, text) {
  if (!sign) return;
  sign.className = on ? "live on" : "live off";
  if (sign.textContent !== text) sign.textContent = text;
}

async function refresh() {
  if (!dirty || busy) return;
  dirty = false;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    dirty = true;
  }
  setTimeout(() => { busy = false; refresh(); }, 500);
}

function exchange(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    // what is being typed stays; the part is exchanged with the next event
    if (!now || focus?.matches("input:not([type=checkbox]), textarea, select")) continue;
    const open = [...old.querySelectorAll("details")].map((d) => d.open);
    const ticked = new Set([...old.querySelectorAll("input:checked")].map((i) => i.value));
    [...now.querySelectorAll("details")].forEach((d, i) => { d.open = open[i] ?? d.open; });
    now.querySelectorAll("input[type=checkbox]").forEach((i) => { i.checked = ticked.has(i.value); });
    if (old.outerHTML === now.outerHTML) continue;
    const at = focus ? [...old.querySelectorAll(focus.tagName)].indexOf(focus) : -1;
    old.replaceWith(document.adoptNode(now));
    if (at >= 0) now.querySelectorAll(focus.tagName)[at]?.focus({ preventScroll: true });
  }
}

function follow() {
  if (source || document.hidden || body.dataset.follow === undefined) return;
  source = new EventSource(`/api/v1/events?run=${encodeURIComponent(body.dataset.follow)}&after=${last}`);
  source.onopen = () => { lost = 0; say(true, "live"); };
  source.onerror = () => { lost ||= Date.now(); };
  const happened = (event) => {
    last = Math.max(last, Number(event.lastEventId) || 0);
    dirty = true;
    refresh();
  };
  for (const kind of ["step", "evaluation", "checkpoint", "status", "created", "edited", "deleted", "progress", "rewind", "log", "reset"])
    source.addEventListener(kind, happened);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); source = null; say(false, "paused"); } else follow();
});
setInterval(() => {
  if (!lost) return;
  say(false, `offline ${Math.round((Date.now() - lost) / 1000)} s`);
  if (source?.readyState === EventSource.CLOSED) { source = null; follow(); }
}, 1000);
follow();

// Keys are clicks on links that are there: data-key="j", or two in a row, "g r".
let before = "";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  if (event.key === "/") {
    const field = document.querySelector('[data-key-focus="/"]');
    if (field) { field.focus(); event.preventDefault(); }
    return;
  }
  if (event.key === "?") return help();
  const keys = [...document.querySelectorAll("[data-key]")];
  const link = keys.find((k) => k.dataset.key === `${before} ${event.key}`) ?? keys.find((k) => k.dataset.key === event.key);
  before = keys.some((k) => k.dataset.key.startsWith(`${event.key} `)) ? event.key : "";
  if (link) link.click();
});

const keys = document.getElementById("keys");
if (keys) { keys.hidden = false; keys.addEventListener("click", help); }

function help() {
  const dialog = document.createElement("dialog");
  const table = dialog.appendChild(document.createElement("table"));
  table.createCaption().textContent = "Keys of this page; Esc closes";
  for (const link of document.querySelectorAll("[data-key]")) {
    const row = table.insertRow();
    row.insertCell().appendChild(document.createElement("kbd")).textContent = link.dataset.key;
    row.insertCell().textContent = link.textContent.trim().replace(/\s+/g, " ");
  }
  for (const [key, what] of [["/", "to the search field"], ["?", "these keys"]]) {
    if (key === "/" && !document.querySelector('[data-key-focus="/"]')) continue;
    const row = table.insertRow();
    row.insertCell().appendChild(document.createElement("kbd")).textContent = key;
    row.insertCell().textContent = what;
  }
  dialog.addEventListener("close", () => dialog.remove());
  body.append(dialog);
  dialog.showModal();
}
