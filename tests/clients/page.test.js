// What the web page does, in a document without a browser: searching, heat, the viewer, keys, the address,
// and each state, against a server that is made up. `make test-page` fetches the one package it needs.
const fs = require("fs"), { Window } = require("happy-dom");
const path = require("path");
const web = path.join(__dirname, "../../src/serve/web/");
const html = fs.readFileSync(web + "index.html", "utf8").replace('<script src="/app.js" defer></script>', "");
const script = fs.readFileSync(web + "app.js", "utf8");
const assert = require("assert");
const hit = (n) => ({ ref: "aaaaaaaaaaaaaaaa-" + n, path: "reports/<b>q3</b>.pdf", page: n, rank: n, score: 1, visual: { score: 1, rank: n }, text: null, channels: [], by_name: false, snippet: "net <img src=x> sales", marks: [[0, 3]], size_pt: [600, 800], image_url: `/v1/pages/aaaaaaaaaaaaaaaa-${n}/image`, heatmap_url: `/v1/pages/aaaaaaaaaaaaaaaa-${n}/heatmap?query=net`, file_url: `/v1/documents/aaaaaaaaaaaaaaaa/file#page=${n}`, page_count: 9, title: null, matches: [{ similarity: 0.2 }, { similarity: 0.7 }, { similarity: 0.5 }] });
const answer = (q, all) => ({ query: q, hits: q === "nothing" || (q === "unlikely" && !all) ? [] : [hit(1), hit(2), hit(3)], verdict: q === "unlikely" ? "none" : "good", probability: 0.5, held_back: q === "unlikely" && !all ? 3 : 0, ms: { total: 12.3 }, notice: "a note", channels: ["patches", "words"], words: [{ index: 0, text: "net", tokens: [1] }, { index: 1, text: "sales", tokens: [2] }] });
let mode = "ok", asked = [];
async function fake(url, options = {}) {
  asked.push([options.method || "GET", String(url), options.body]);
  const reply = (status, body) => ({ ok: status < 400, status, json: async () => body });
  if (mode === "down") throw new TypeError("failed");
  if (mode === "401" && !String(url).includes("session")) return reply(401, { detail: "a token is needed" });
  if (String(url).includes("/v1/session")) { if (JSON.parse(options.body).token === "right") { mode = "ok"; return reply(204, null); } return reply(401, {}); }
  if (url === "/v1/status") return reply(200, { write: true, scope: "full", indexes: [{ name: "reports", model_id: "m", pages: 1234, documents: { ok: 3, partial: 1 } }] });
  if (url === "/v1/search") { if (mode === "500") return reply(500, { detail: "a bug" }); const body = JSON.parse(options.body); return reply(200, answer(body.query, body.all)); }
  if (String(url).includes("/regions")) return reply(200, { regions: [{ rect_rel: [0.1, 0.2, 0.5, 0.3] }] });
  if (String(url).startsWith("/v1/pages/")) { const n = Number(/-(\d+)/.exec(url)[1]); return reply(200, { ...hit(n), text: "text of " + n, n_vectors: 5, heatmap_url: `/v1/pages/aaaaaaaaaaaaaaaa-${n}/heatmap` }); }
  return reply(404, { detail: "no" });
}
const wait = (ms = 30) => new Promise((r) => setTimeout(r, ms));
async function open(url, m = "ok") {
  mode = m; asked = [];
  const w = new Window({ url: "http://localhost:8731" + url, settings: { disableCSSFileLoading: true, disableJavaScriptFileLoading: true } }); w.document.write(html);

  w.fetch = fake; w.scrollTo = () => {}; w.Element.prototype.scrollTo = () => {};
  w.CSS = { escape: (s) => s.replace(/["\\]/g, "\\$&") };
  w.history.pushState = (s, t, u) => w.happyDOM.setURL(new URL(u, w.location.href).href);
  w.eval(script);
  await wait();
  return w;
}
const key = (w, k, target) => (target || w.document.activeElement || w.document.body).dispatchEvent(new w.KeyboardEvent("keydown", { key: k, bubbles: true, cancelable: true }));
(async () => {
  let w = await open("/"), d = w.document, $ = (id) => d.getElementById(id);
  assert(!$("welcome").hidden && $("holds").textContent.includes("1,234 pages of 4 documents"));
  assert(!$("drop").hidden && $("index-label").hidden);
  $("q").value = "net sales";
  $("search").dispatchEvent(new w.Event("submit", { cancelable: true }));
  await wait();
  assert.equal(w.location.search, "?q=net+sales");
  assert.equal($("status").textContent, "3 pages in 12 ms");
  assert.equal($("notice").textContent, "a note");
  const rows = [...$("results").querySelectorAll("[data-ref]")];
  assert.equal(rows.length, 3);
  assert.equal(rows[0].getAttribute("role"), "listitem");
  const img = rows[0].querySelector("img");
  assert.equal(img.alt, "Page 1 of reports/<b>q3</b>.pdf");
  assert.equal([img.width, img.height].join(), "320,427");
  assert.equal(rows[0].querySelectorAll("b, .snippet img").length, 0, "document text enters as text");
  assert.equal(rows[0].querySelector("mark").textContent, "net");
  const buttons = [...$("words").querySelectorAll("button")];
  assert.deepEqual(buttons.map((b) => b.dataset.word), ["0", "1", "all"]);
  assert(buttons[0].title.includes("0.700"));
  buttons[0].click();
  assert.equal(buttons[0].getAttribute("aria-pressed"), "true");
  assert.equal($("results").querySelectorAll("img.heat").length, 3);
  assert($("results").querySelector("img.heat").src.includes("word=0"));
  buttons[0].click();
  assert.equal($("results").querySelectorAll("img.heat").length, 0);
  // keys
  d.body.focus(); d.activeElement.blur && d.activeElement.blur();
  key(w, "j"); assert.equal(d.activeElement.closest("[data-ref]"), rows[0]);
  key(w, "j"); assert.equal(d.activeElement.closest("[data-ref]"), rows[1]);
  key(w, "k"); assert.equal(d.activeElement.closest("[data-ref]"), rows[0]);
  key(w, "h"); assert.equal($("results").querySelectorAll("img.heat").length, 3);
  key(w, "2"); assert($("results").querySelector("img.heat").src.includes("word=1"));
  const opener = rows[0].querySelector(".open");
  opener.click(); await wait();
  assert(!$("viewer").hidden && w.location.hash === "#aaaaaaaaaaaaaaaa-1");
  assert.equal($("said").textContent, "text of 1");
  assert.equal($("pdf").textContent, "Open PDF at page 1");
  assert.equal($("sheet").querySelectorAll(".region").length, 1);
  assert.equal($("sheet").querySelectorAll("img.heat").length, 1);
  assert.equal($("sheet").querySelector(".region").style.left, "10%");
  key(w, "]"); await wait();
  assert.equal(w.location.hash, "#aaaaaaaaaaaaaaaa-2");
  assert.equal($("said").textContent, "text of 2");
  key(w, "+"); assert.equal($("sheet").style.width, "125%");
  key(w, "0"); assert.equal($("sheet").style.width, "100%");
  key(w, "Escape"); assert($("viewer").hidden && w.location.hash === "");
  assert.equal(d.activeElement, opener, "focus comes back");
  key(w, "?"); assert(!$("keys").hidden); key(w, "Escape"); assert($("keys").hidden);
  key(w, "/"); assert.equal(d.activeElement, $("q"));
  key(w, "j", $("q")); assert.equal(d.activeElement, $("q"), "not while typing");
  $("theme").click(); assert.equal(w.localStorage.getItem("theme"), "light");
  // A sent link.
  w = await open("/?q=net&channel=text&path=a/**#aaaaaaaaaaaaaaaa-3"); d = w.document; $ = (id) => d.getElementById(id); await wait();
  assert.equal($("q").value, "net"); assert.equal($("path").value, "a/**");
  assert.equal(d.querySelector("input[name=channel]:checked").value, "text");
  assert(!$("viewer").hidden && $("said").textContent === "text of 3");
  const body = JSON.parse(asked.find((a) => a[1] === "/v1/search")[2]);
  assert.deepEqual([body.channel, body.paths], ["text", ["a/**"]]);
  // Nothing, an error, no connection, a token.
  w = await open("/?q=nothing"); $ = (id) => w.document.getElementById(id); await wait();
  assert(!$("empty").hidden && $("results").children.length === 0 && $("anyway").hidden);
  // No page is likely to answer: they are shown when asked for, and a link says so.
  w = await open("/?q=unlikely"); $ = (id) => w.document.getElementById(id); await wait();
  assert(!$("empty").hidden && $("anyway").textContent === "Show the 3 nearest pages");
  $("anyway").click(); await wait();
  assert($("empty").hidden && $("results").children.length === 3 && w.location.search === "?q=unlikely&all=true");
  assert($("notice").textContent.includes("No page is likely to answer"));
  w = await open("/?q=unlikely&all=true"); $ = (id) => w.document.getElementById(id); await wait();
  assert.equal($("results").children.length, 3);
  $("q").value = "net"; $("search").dispatchEvent(new w.Event("submit", { cancelable: true })); await wait();
  assert.equal(w.location.search, "?q=net");
  w = await open("/?q=a", "500"); $ = (id) => w.document.getElementById(id); await wait();
  assert(!$("error").hidden && $("error").textContent.includes("a bug"));
  mode = "ok"; $("error").querySelector("button").click(); await wait();
  assert($("error").hidden && $("results").children.length === 3);
  w = await open("/", "down"); $ = (id) => w.document.getElementById(id);
  assert($("error").textContent.includes("Not connected"));
  w = await open("/?q=a", "401"); $ = (id) => w.document.getElementById(id);
  assert(!$("login").hidden && w.document.activeElement.type === "password");
  const input = $("login").querySelector("input");
  input.value = "wrong"; $("login").dispatchEvent(new w.Event("submit", { cancelable: true })); await wait();
  assert($("login-said").textContent.includes("not the token"));
  input.value = "right"; $("login").dispatchEvent(new w.Event("submit", { cancelable: true })); await wait(60);
  assert($("login").hidden && $("results").children.length === 3);
  assert.equal(input.value, "");
  console.log("the page does as it should");
  process.exit(0);
})().catch((e) => { console.error(e); process.exit(1); });
