"use strict";
// Everything that comes from a document enters by textContent.
const $ = (id) => document.getElementById(id);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const state = { status: null, answer: null, word: null, running: null, page: null, zoom: 1, opener: null, retry: null, all: null };
const ALL = "all";

// ---- asking the server ----

class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || "The server answered " + status);
    this.status = status;
  }
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "Not connected: the server cannot be reached. Is it running?" });
  }
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

const post = (url, body, signal) =>
  ask(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

// `url` with these parameters, in the place of those of the same names that it has.
const add = (url, parameters) => {
  const [path, before] = url.split("?");
  const query = new URLSearchParams(before);
  for (const [name, value] of Object.entries(parameters)) query.set(name, value);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
};

// ---- the address ----

function address() {
  const query = new URLSearchParams(location.search);
  return {
    q: query.get("q") || "",
    path: query.get("path") || "",
    channel: query.get("channel") || "both",
    index: query.get("index") || "",
    all: query.get("all") === "true",
    ref: decodeURIComponent(location.hash.slice(1)),
  };
}

function fields() {
  return {
    q: $("q").value.trim(),
    path: $("path").value.trim(),
    channel: document.querySelector("input[name=channel]:checked").value,
    index: $("index").value,
    all: state.all === $("q").value.trim(),
  };
}

function addressOf(values, ref) {
  const query = new URLSearchParams();
  if (values.q) query.set("q", values.q);
  if (values.path) query.set("path", values.path);
  if (values.channel !== "both") query.set("channel", values.channel);
  const first = state.status && state.status.indexes[0].name;
  if (values.index && values.index !== first) query.set("index", values.index);
  if (values.all) query.set("all", "true");
  const text = query.toString();
  return "/" + (text ? "?" + text : "") + (ref ? "#" + ref : "");
}

function fill(values) {
  $("q").value = values.q;
  state.all = values.all ? values.q : null;
  $("path").value = values.path;
  const radio = document.querySelector(`input[name=channel][value="${CSS.escape(values.channel)}"]`);
  if (radio) radio.checked = true;
  if (values.index) $("index").value = values.index;
}

// ---- states ----

function show(...ids) {
  for (const id of ["error", "login", "welcome", "empty"]) $(id).hidden = !ids.includes(id);
}

function fail(error, retry) {
  if (error.name === "AbortError") return;
  $("results").setAttribute("aria-busy", "false");
  $("results").replaceChildren();
  $("status").textContent = "";
  state.retry = retry;
  if (error.status === 401) {
    show("login");
    $("login").querySelector("input").focus();
    return;
  }
  $("error").querySelector("p").textContent = error.message;
  show("error");
}

$("error").querySelector("button").addEventListener("click", () => state.retry && state.retry());

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("login").querySelector("input");
  $("login-said").textContent = "";
  try {
    await post("/v1/session", { token: input.value });
    input.value = "";
    await begin();
  } catch (error) {
    $("login-said").textContent = error.status === 401 ? "This is not the token of the server." : error.message;
    input.select();
  }
});

// ---- searching ----

function indexNow() {
  const name = $("index").value;
  return state.status.indexes.find((index) => index.name === name) || state.status.indexes[0];
}

async function search() {
  const values = fields();
  if (state.running) state.running.abort();
  closeViewer(false);
  state.word = null;
  $("words").replaceChildren();
  $("notice").hidden = true;
  if (!values.q) {
    state.answer = null;
    $("results").replaceChildren();
    $("status").textContent = "";
    welcome();
    return;
  }
  document.title = values.q + " – pagesight";
  show();
  const running = new AbortController();
  state.running = running;
  const results = $("results");
  results.setAttribute("aria-busy", "true");
  const ghosts = setTimeout(() => {
    $("status").textContent = "Searching…";
    results.replaceChildren(...Array.from({ length: 6 }, ghost));
  }, 150);
  try {
    const request = { query: values.q, k: 20, channel: values.channel, explain: true };
    if (values.path) request.paths = [values.path];
    if (values.index) request.index = values.index;
    if (values.all) request.all = true;
    const answer = await post("/v1/search", request, running.signal);
    clearTimeout(ghosts);
    if (state.running !== running) return;
    state.answer = answer;
    results.setAttribute("aria-busy", "false");
    draw(answer);
  } catch (error) {
    clearTimeout(ghosts);
    if (state.running === running) fail(error, search);
  }
}

function ghost() {
  const item = make("li", undefined, "ghost");
  item.setAttribute("aria-hidden", "true");
  item.append(make("span"), make("span"));
  return item;
}

function draw(answer) {
  const hits = answer.hits;
  const count = hits.length === 1 ? "1 page" : hits.length + " pages";
  $("status").textContent = `${count} in ${answer.ms.total.toFixed(answer.ms.total < 10 ? 1 : 0)} ms`;
  const notices = [answer.notice, hits.length ? doubt(answer) : null].filter(Boolean);
  $("notice").hidden = !notices.length;
  $("notice").textContent = notices.join("; ");
  drawWords(answer);
  $("results").replaceChildren(...hits.map(item));
  if (!hits.length) {
    const filtered = $("path").value.trim() || fields().channel !== "both";
    $("empty").querySelector("p").textContent = filtered
      ? "Take the filters away, or ask with fewer or other words."
      : "Ask with fewer or other words, or without quotation marks.";
    const held = answer.held_back || 0;
    $("anyway").hidden = !held;
    $("anyway").textContent = held === 1 ? "Show the nearest page" : `Show the ${held} nearest pages`;
    show("empty");
  }
}

// How far an answer is to be trusted, where that is not far.
function doubt(answer) {
  if (answer.verdict === "none") return "No page is likely to answer; these are the nearest.";
  if (answer.verdict !== "weak" || typeof answer.probability !== "number") return null;
  return `Weak: that one of these pages answers is ${Math.round(answer.probability * 100)} % likely.`;
}

$("anyway").addEventListener("click", () => {
  state.all = $("q").value.trim();
  submit();
});

function item(hit) {
  const row = make("li");
  row.dataset.ref = hit.ref;
  row.setAttribute("role", "listitem");
  const thumb = make("span", undefined, "thumb");
  thumb.append(picture(hit, 320, "jpeg"));
  const words = make("div");
  const link = make("a", `${hit.path}, page ${hit.page}`, "open");
  link.href = addressOf(fields(), hit.ref);
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    openViewer(hit.ref, true, link);
  });
  const title = make("p");
  title.append(link);
  words.append(title);
  words.append(make("p", why(hit), "why"));
  words.append(snippet(hit));
  row.append(thumb, words);
  return row;
}

function why(hit) {
  const said = [];
  if (hit.visual) said.push(`looks: rank ${hit.visual.rank}`);
  if (hit.text) said.push(`words: rank ${hit.text.rank}` + (hit.by_name ? ", by its name" : ""));
  for (const other of hit.channels || []) {
    const name = other.channel === "passages" ? "meaning" : other.channel;
    if (!["patches", "words"].includes(other.channel)) said.push(`${name}: rank ${other.rank}`);
  }
  return `${hit.rank}. ${said.join(" · ")}`;
}

function snippet(hit) {
  const line = make("p", undefined, "snippet");
  const letters = Array.from(hit.snippet || "");
  const text = (part) => document.createTextNode(part.join(""));
  let at = 0;
  for (const [start, end] of hit.marks || []) {
    line.append(text(letters.slice(at, start)), make("mark", letters.slice(start, end).join("")));
    at = end;
  }
  line.append(text(letters.slice(at)));
  if (!letters.length) line.textContent = "(no words on this page)";
  return line;
}

function picture(page, width, format) {
  const image = make("img");
  image.alt = `Page ${page.page} of ${page.path}`;
  image.width = width;
  image.height = Math.max(1, Math.round((width * page.size_pt[1]) / page.size_pt[0]));
  image.loading = "lazy";
  image.decoding = "async";
  const url = add(page.image_url, { width: Math.min(4096, Math.max(16, width)), format });
  image.addEventListener("error", () => failed(image, url), { once: true });
  image.src = url;
  return image;
}

// A picture that cannot be drawn says why in its frame.
async function failed(image, url) {
  let reason = "The picture cannot be drawn.";
  try {
    await ask(url);
  } catch (error) {
    reason = error.message;
  }
  if (image.isConnected) image.replaceWith(make("span", reason, "failed"));
}

// ---- words and heat ----

function drawWords(answer) {
  const box = $("words");
  if (!answer.hits.length) return;
  if (!indexNow().model_id) {
    box.textContent = "This index has no model that sees pages, so there is no heat to show.";
    return;
  }
  const words = (answer.words || []).filter((word) => word.tokens.length);
  if (!words.length) {
    if (answer.channels.includes("words")) box.textContent = "Words alone answered, so there is no heat to show.";
    return;
  }
  const best = (tokens) => {
    const found = answer.hits.flatMap((hit) => tokens.map((t) => hit.matches[t] && hit.matches[t].similarity));
    return Math.max(...found.filter((value) => value !== undefined), -1);
  };
  for (const word of words) {
    const similarity = best(word.tokens);
    box.append(wordButton(word.text, String(word.index), similarity > -1 ? `best similarity ${similarity.toFixed(3)}` : ""));
  }
  box.append(wordButton("Whole query", ALL, "what of the page answers the question"));
}

function wordButton(text, word, title) {
  const button = make("button", text);
  button.type = "button";
  button.dataset.word = word;
  button.title = title;
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => press(word));
  return button;
}

function press(word) {
  if (![...$("words").querySelectorAll("button")].some((button) => button.dataset.word === word)) return;
  state.word = state.word === word ? null : word;
  for (const button of $("words").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.word === state.word));
  }
  const shown = state.word;
  for (const row of $("results").children) {
    const hit = state.answer.hits.find((hit) => hit.ref === row.dataset.ref);
    lay(row.querySelector(".thumb"), hit && heatmapOf(hit), 320);
  }
  if (state.page) lay($("sheet"), heatmapOf(state.page), 1200);
  document.querySelector("[data-do=heat]").setAttribute("aria-pressed", String(shown !== null));
}

function heatmapOf(page) {
  if (!page.heatmap_url || !state.answer) return null;
  return add(page.heatmap_url, { query: state.answer.query, ...foundBy(page.ref) });
}

// A page that what its words mean has found is explained by that, others by their looks.
function foundBy(ref) {
  const hit = state.answer && state.answer.hits.find((hit) => hit.ref === ref);
  return hit && hit.meaning ? { channel: "meaning" } : {};
}

// Lays the heat of the pressed word over a picture, or takes it away.
function lay(frame, url, width) {
  for (const old of frame.querySelectorAll(".heat")) old.remove();
  if (state.word === null || !url) return;
  const heat = make("img", undefined, "heat");
  heat.alt = "";
  heat.setAttribute("aria-hidden", "true");
  const parameters = { width };
  if (state.word !== ALL) parameters.word = state.word;
  heat.addEventListener("error", () => heat.remove());
  heat.src = add(url, parameters);
  frame.append(heat);
}

// ---- the viewer ----

async function openViewer(ref, push, opener) {
  if (opener) state.opener = opener;
  if (push) history.pushState(null, "", addressOf(fields(), ref));
  const hit = state.answer && state.answer.hits.find((hit) => hit.ref === ref);
  const first = $("viewer").hidden;
  $("viewer").hidden = false;
  for (const part of ["header", "main"]) document.querySelector(part).inert = true;
  if (hit) paint(hit);
  if (first) $("viewer-title").focus();
  const index = $("index").value;
  const named = index && index !== state.status.indexes[0].name ? { index } : {};
  const url = `/v1/pages/${encodeURIComponent(ref)}`;
  try {
    const page = await ask(add(url, named));
    if ($("viewer").hidden || address().ref !== ref) return;
    paint(page);
    $("said").textContent = page.text || "(no words on this page)";
    if (state.answer && page.n_vectors > 0) {
      const query = { query: state.answer.query, n: 3, ...foundBy(ref), ...named };
      const found = await ask(add(url + "/regions", query));
      if (state.page === page) frame(found.regions, page);
    }
  } catch (error) {
    if (address().ref !== ref) return;
    if (!state.page || state.page.ref !== ref) {
      $("viewer-title").textContent = error.message;
      $("sheet").replaceChildren(make("span", error.message, "failed"));
    }
  }
}

function paint(page) {
  const before = state.page;
  state.page = page;
  const of = page.page_count ? ` of ${page.page_count}` : "";
  $("viewer-title").textContent = `${page.path}, page ${page.page}${of}`;
  $("pdf").href = page.file_url;
  $("pdf").textContent = `Open PDF at page ${page.page}`;
  if (!before || before.ref !== page.ref) {
    $("said").textContent = "";
    $("sheet").replaceChildren(picture(page, 1200, "webp"));
    $("stage").scrollTo(0, 0);
    zoom(1);
  }
  lay($("sheet"), heatmapOf(page), 1200);
}

function frame(regions, page) {
  for (const old of $("sheet").querySelectorAll(".region")) old.remove();
  const boxes = regions.map((region) => {
    const [x0, y0, x1, y1] = region.rect_rel;
    const box = make("div", undefined, "region");
    box.style.left = x0 * 100 + "%";
    box.style.top = y0 * 100 + "%";
    box.style.width = (x1 - x0) * 100 + "%";
    box.style.height = (y1 - y0) * 100 + "%";
    return box;
  });
  $("sheet").append(...boxes);
  if (boxes.length) {
    const [, top] = regions[0].rect_rel;
    $("stage").scrollTo(0, Math.max(0, top * $("sheet").offsetHeight - 60));
  }
}

function zoom(factor) {
  state.zoom = Math.min(5, Math.max(0.5, factor));
  $("sheet").style.width = state.zoom * 100 + "%";
}

function closeViewer(push) {
  if ($("viewer").hidden) return;
  $("viewer").hidden = true;
  state.page = null;
  $("sheet").replaceChildren();
  for (const part of ["header", "main"]) document.querySelector(part).inert = false;
  if (push) history.pushState(null, "", addressOf(fields()));
  const opener = state.opener && state.opener.isConnected ? state.opener : $("q");
  state.opener = null;
  opener.focus();
}

function step(by) {
  if (!state.page) return;
  const number = state.page.page + by;
  if (number < 1 || (state.page.page_count && number > state.page.page_count)) return;
  openViewer(state.page.ref.replace(/-\d+$/, "-" + number), true);
}

function stepHit(by) {
  const hits = state.answer ? state.answer.hits : [];
  if (!hits.length) return;
  if ($("viewer").hidden) {
    const links = [...$("results").querySelectorAll(".open")];
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
    links[next].focus();
    return;
  }
  const at = hits.findIndex((hit) => state.page && hit.ref === state.page.ref);
  const hit = hits[Math.min(hits.length - 1, Math.max(0, at + by))];
  if (hit && (!state.page || hit.ref !== state.page.ref)) {
    state.opener = $("results").querySelector(`[data-ref="${CSS.escape(hit.ref)}"] .open`);
    openViewer(hit.ref, true);
  }
}

async function cite(button) {
  const text = `${state.page.path}, page ${state.page.page}`;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = text;
  }
  setTimeout(() => (button.textContent = "Copy citation"), 2000);
}

const actions = {
  "hit-back": () => stepHit(-1),
  "hit-on": () => stepHit(1),
  "page-back": () => step(-1),
  "page-on": () => step(1),
  out: () => zoom(state.zoom / 1.25),
  in: () => zoom(state.zoom * 1.25),
  fit: () => zoom(1),
  heat: () => press(state.word === null ? ALL : state.word),
  cite,
  close: () => closeViewer(true),
};
$("viewer").addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) actions[button.dataset.do](button);
});

// Focus stays in an open dialog.
function trap(dialog, event) {
  if (event.key !== "Tab") return;
  const inside = [...dialog.querySelectorAll("button, a[href], [tabindex='0']")];
  const [first, last] = [inside[0], inside[inside.length - 1]];
  if (event.shiftKey && (document.activeElement === first || !inside.includes(document.activeElement))) {
    event.preventDefault();
    last.focus();
  } else if (!event.shiftKey && document.activeElement === last) {
    event.preventDefault();
    first.focus();
  }
}
$("viewer").addEventListener("keydown", (event) => trap($("viewer"), event));
$("keys").addEventListener("keydown", (event) => trap($("keys"), event));

// ---- keys ----

let beforeKeys = null;
function toggleKeys(open) {
  if (open === !$("keys").hidden) return;
  $("keys").hidden = !open;
  if (open) {
    beforeKeys = document.activeElement;
    $("keys-title").focus();
  } else if (beforeKeys) beforeKeys.focus();
}
$("keys").querySelector("button").addEventListener("click", () => toggleKeys(false));
$("help").addEventListener("click", () => toggleKeys(true));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.matches("input:not([type=radio]):not([type=file]), select, textarea");
  if (event.key === "Escape") {
    if (!$("keys").hidden) toggleKeys(false);
    else if (!$("viewer").hidden) closeViewer(true);
    else if (typing) event.target.blur();
    return;
  }
  if (typing || !$("keys").hidden) return;
  const onRadio = event.target.matches("input[type=radio]");
  const scrolls = event.target.id === "stage" || event.target.id === "said";
  const keys = {
    "/": () => { closeViewer(true); $("q").focus(); $("q").select(); },
    j: () => stepHit(1),
    k: () => stepHit(-1),
    ArrowDown: onRadio || scrolls ? null : () => stepHit(1),
    ArrowUp: onRadio || scrolls ? null : () => stepHit(-1),
    h: () => press(ALL),
    o: () => {
      const ref = document.activeElement.closest && document.activeElement.closest("[data-ref]");
      const hit = ref && state.answer && state.answer.hits.find((hit) => hit.ref === ref.dataset.ref);
      const page = state.page || hit;
      if (page) window.open(page.file_url, "_blank", "noopener");
    },
    "[": () => step(-1),
    "]": () => step(1),
    "+": () => zoom(state.zoom * 1.25),
    "=": () => zoom(state.zoom * 1.25),
    "-": () => zoom(state.zoom / 1.25),
    0: () => zoom(1),
    "?": () => toggleKeys(true),
  };
  let action = keys[event.key];
  if (/^[1-9]$/.test(event.key)) {
    action = () => {
      const words = [...$("words").querySelectorAll("button")].filter((b) => b.dataset.word !== ALL);
      const button = words[Number(event.key) - 1];
      if (button) press(button.dataset.word);
    };
  }
  if (!action) return;
  // A key that moves the focus must not also press what it lands on.
  event.preventDefault();
  action();
});

// ---- uploads ----

function uploads() {
  const drop = $("drop");
  drop.hidden = !(state.status.write && state.status.scope === "full");
}
$("drop").querySelector("input").addEventListener("change", (event) => {
  for (const file of event.target.files) upload(file);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if ($("drop").hidden || !event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") for (const file of event.dataTransfer.files) upload(file);
  });
}

function upload(file) {
  const line = make("li", `${file.name}: sending…`);
  $("drop").querySelector("ul").append(line);
  const say = (text) => (line.textContent = `${file.name}: ${text}`);
  const request = new XMLHttpRequest();
  request.open("POST", add("/v1/documents", { name: file.name, index: $("index").value || state.status.indexes[0].name }));
  request.setRequestHeader("Content-Type", "application/pdf");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) say(`sending, ${Math.round((event.loaded / event.total) * 100)} %`);
  });
  request.addEventListener("error", () => say("not sent: the server cannot be reached"));
  request.addEventListener("load", () => {
    let body = {};
    try { body = JSON.parse(request.responseText); } catch { /* said below */ }
    if (request.status >= 400) say(`failed: ${body.detail || request.status}`);
    else if (!body.job) say("is here already");
    else follow(body, say);
  });
  request.send(file);
}

async function follow(sent, say) {
  for (;;) {
    let job;
    try {
      job = await ask(`/v1/jobs/${sent.job}`);
    } catch (error) {
      say(error.message);
      return;
    }
    if (job.state === "done") {
      const detail = await ask(`/v1/documents/${sent.document}`).catch(() => null);
      if (detail && detail.reason) say(`failed: ${detail.reason}`);
      else say("ready to be found");
      await refreshStatus();
      return;
    }
    if (["failed", "cancelled"].includes(job.state)) {
      say(job.error ? `failed: ${job.error.detail}` : job.state);
      return;
    }
    say(job.waiting_for ? `waits: ${job.waiting_for}` : job.progress.pages ? `indexing, ${job.progress.pages} pages` : "waits to be indexed");
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
}

// ---- beginning ----

function welcome() {
  document.title = "pagesight";
  const index = indexNow();
  const documents = index.documents.ok + index.documents.partial;
  $("holds").textContent = `${index.pages.toLocaleString("en")} pages of ${documents.toLocaleString("en")} documents are here.`;
  show("welcome");
}
for (const button of document.querySelectorAll("[data-try]")) {
  button.addEventListener("click", () => {
    $("q").value = button.dataset.try;
    submit();
  });
}

function submit() {
  history.pushState(null, "", addressOf(fields()));
  state.asked = JSON.stringify({ ...address(), ref: "" });
  search();
}
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("filters").addEventListener("change", () => $("q").value.trim() && submit());

const themes = ["auto", "light", "dark"];
const named = { auto: "as the system", light: "light", dark: "dark" };
function theme(name) {
  if (name === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = name;
  $("theme").setAttribute("aria-label", `Theme: ${named[name]}`);
  $("theme").title = `Theme: ${named[name]}`;
}
function themeNow() {
  try {
    const kept = localStorage.getItem("theme");
    return themes.includes(kept) ? kept : "auto";
  } catch {
    return "auto";
  }
}
$("theme").addEventListener("click", () => {
  const next = themes[(themes.indexOf(themeNow()) + 1) % themes.length];
  try { localStorage.setItem("theme", next); } catch { /* kept for this view alone */ }
  theme(next);
});
theme(themeNow());

async function refreshStatus() {
  state.status = await ask("/v1/status");
  const several = state.status.indexes.length > 1;
  $("index-label").hidden = !several;
  const before = $("index").value;
  $("index").replaceChildren(...state.status.indexes.map((index) => {
    const option = make("option", index.name);
    option.value = index.name;
    return option;
  }));
  if (before) $("index").value = before;
  uploads();
}

async function restore() {
  const values = address();
  const asked = JSON.stringify({ ...values, ref: "" });
  if (asked !== state.asked) {
    state.asked = asked;
    fill({ ...values, index: values.index || state.status.indexes[0].name });
    await search();
  }
  if (values.ref) await openViewer(values.ref, false);
  else closeViewer(false);
}

async function begin() {
  show();
  try {
    await refreshStatus();
  } catch (error) {
    fail(error, begin);
    return;
  }
  state.asked = null;
  await restore();
}

window.addEventListener("popstate", restore);
begin();
