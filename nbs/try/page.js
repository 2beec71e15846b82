// The page: it takes pictures and shows them. All computing happens in worker.js.
import "../vendor/img-comparison-slider/index.js";
import "./policy.js";
import { form, title } from "./form.js";
import { isolate } from "./isolation.js";
import { LIMIT, OPEN_LIMIT, advice, firstChoice, megapixels, sizes, spoken } from "./limits.js";
import { SCALE } from "./tiles.js";

// From here on the browser refuses to send anything to another site.
const policy = { httpEquiv: "Content-Security-Policy", content: TRY_POLICY };
document.head.append(Object.assign(document.createElement("meta"), policy));

const here = name => new URL(name, import.meta.url).href;
const root = document.getElementById("srgan-try");
root.innerHTML = form(here);
const find = selector => root.querySelector(selector);
const view = find(".try-view"), slider = find("img-comparison-slider");
const settings = find(".try-settings"), progress = find("progress");
const [before, after] = root.querySelectorAll("canvas");
// ?pixels=20000 makes smaller tiles, to test their seams; ?threads=2 asks for as many threads, on any machine.
const asked = name => Number(new URLSearchParams(location.search).get(name)) || undefined;
const pixels = asked("pixels"), threads = asked("threads") ?? Math.min(navigator.hardwareConcurrency || 1, 8);
// A worker from an address has the policy of its own headers, if there are any. One that begins as a blob inherits ours.
const start = new Blob([`import ${JSON.stringify(here("worker.js"))};`], { type: "text/javascript" });
const workerAddress = URL.createObjectURL(start);

let worker, calls, count = 0, backend, isolated, whyOneThread = "";
let picture, shown, current; // the picture you chose, the result on show, and the current run
const rates = { webgpu: 0.02e-3 }; // seconds per pixel: guesses, until a run has measured them

/* The worker. */

function startWorker() {
  worker = new Worker(workerAddress, { type: "module" });
  calls = new Map();
  worker.onmessage = ({ data }) => data.event ? EVENTS[data.event](data) : settle(data);
  worker.onerror = event => {
    event.preventDefault();
    for (const { reject } of calls.values()) reject(new Error("worker"));
    stopWorker();
  };
  call("backend", { threads }).catch(() => {});
}

function call(job, given = {}) {
  if (!worker) startWorker();
  return new Promise((resolve, reject) => {
    const id = count++;
    calls.set(id, { resolve, reject });
    worker.postMessage({ id, job, ...given });
  });
}

function settle({ id, answer, error }) {
  const { resolve, reject } = calls.get(id);
  calls.delete(id);
  answer ? resolve(answer) : reject(new Error(error));
}

function stopWorker() { // immediately, whatever it is doing
  worker?.terminate();
  worker = undefined;
}

const EVENTS = {
  show({ on, bitmap }) {
    (on === "before" ? before : after).getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
    if (on === "after" && find(".try-result").hidden) reveal();
  },
  loading() { find(".try-progress span").textContent = "loading the network"; },
  started() { shown.start = performance.now(); find(".try-progress span").textContent = ""; },
  progress({ done }) {
    progress.value = done;
    const left = (performance.now() - shown.start) / 1000 * (1 / done - 1);
    find(".try-progress span").textContent = done < 1 ? `${Math.round(100 * done)} %, about ${spoken(left)} left` : "";
  },
  backend(found) {
    const fell = backend === "webgpu" && found.backend === "wasm";
    backend = found.backend;
    rates.wasm ??= 0.25e-3 / found.threads ** 0.8; // also a guess: not all of the work can be shared
    if (fell) say("The graphics card gave up; the processor goes on.");
    const running = found.threads > 1 ? `${found.threads} threads` : "one thread";
    const how = backend === "webgpu" ? "WebGPU: your graphics card computes"
      : `WebAssembly on ${running}: your processor computes`;
    const why = backend === "wasm" && !fell ? ", as this browser offers no WebGPU here" : "";
    const report = () => { find(".try-backend").textContent = `${how}. Chosen by itself${why}. ${whyOneThread}`; };
    report();
    if (backend === "wasm" && found.threads < threads) addThreads().then(report);
  },
};

async function addThreads() {
  isolated ??= isolate(() => picture);
  whyOneThread = await isolated;
}

/* Messages. */

function say(text) { find(".try-status").textContent = text; }
function complain(text) { find(".try-complaint").textContent = text; if (text) say(""); }

const UNREADABLE = name =>
  `“${name}” cannot be read as a picture: it is damaged, or of a kind this browser does not know. ` +
  "PNG, JPEG, WebP, GIF, BMP and AVIF work nearly everywhere; HEIC only in Safari; TIFF and raw files hardly anywhere.";

const TOO_MUCH = name =>
  `“${name}” could not be opened: it is damaged, or larger than this browser has memory for. ` +
  "Make it smaller with another program first.";

function sentence(error) {
  const text = String(error.message);
  if (/alloc|memory|out of bounds|Array buffer|length/i.test(text))
    return "The memory that this browser gives to a page was not enough. Choose a smaller size.";
  if (text === "worker")
    return "A part of this page could not be loaded: are you offline? Choose the picture again once you are not.";
  if (/fetch|import|module|load|404/i.test(text))
    return "The network’s files could not be loaded: are you offline? Bicubic works without them.";
  return `That did not work (${text.slice(0, 120)}). Try again, or a smaller size.`;
}

/* Taking a picture. */

// Gives width and height without decoding everything; rejects a file that is not a picture.
function measured(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => reject(new Error("unreadable"));
    image.src = address;
  });
}

async function take(file, name = file.name || "the pasted picture") {
  cancel();
  complain("");
  settings.hidden = true;
  const address = URL.createObjectURL(file), taken = { file, name, address };
  if (picture) URL.revokeObjectURL(picture.address);
  picture = taken;
  try {
    Object.assign(taken, await measured(address));
    const size = taken.width * taken.height;
    if (size > OPEN_LIMIT)
      return complain(`“${name}” has ${megapixels(size)} megapixels. ` +
        `This page opens at most ${OPEN_LIMIT / 1e6}; make it smaller with another program first.`);
    await opened(taken);
  } catch (error) {
    const problem = taken.width * taken.height > LIMIT ? TOO_MUCH : UNREADABLE;
    if (picture === taken) complain(error.message === "worker" ? sentence(error) : problem(name));
    return;
  }
  if (picture === taken) offer();
}

async function opened(taken) { // in the worker, which forgets the picture when it is stopped
  if (worker && taken.openIn === worker) return;
  if (!worker) startWorker();
  taken.openIn = worker;
  Object.assign(taken, await call("open", { file: taken.file }));
}

function offer() {
  const { name, width, height, address, alpha } = picture, offers = sizes(picture), select = find("select");
  const image = Object.assign(new Image(), { src: address, alt: "The picture you chose" });
  const caption = document.createElement("figcaption");
  const transparency = alpha ? ", with transparency, which is enlarged by bicubic" : "";
  caption.textContent = `${name}, ${width} × ${height} pixels${transparency}`;
  find(".try-chosen").replaceChildren(image, caption);
  select.replaceChildren(...offers.map((size, i) => {
    const asItIs = i === 0 && size.width === width ? ", as it is" : "";
    return new Option(`${size.width} × ${size.height}${asItIs}`, i);
  }));
  picture.offers = offers;
  select.value = firstChoice(offers, rates[backend]);
  settings.hidden = false;
  advise();
  say(`${name} is open. Choose a method and press “Enlarge”.`);
  prepare();
}

const chosen = () => picture.offers[find("select").value];
const method = () => settings.elements.method.value;

function advise() {
  const rate = method() === "bicubic" ? 0 : rates[backend];
  find(".try-advice").textContent = advice(picture, chosen(), rate);
}

function prepare() { // without a message if it fails: `enlarge` tries again, and complains
  if (method() !== "bicubic") call("prepare", { method: method() }).catch(() => {});
}

/* Enlarging it. */

function label(canvas, text) {
  canvas.setAttribute("aria-label", `${picture.name}: ${text}`);
  canvas.parentElement.querySelector("figcaption").textContent = text;
}

function stage(size, method) {
  const left = method === "bicubic" ? "its own pixels" : "bicubic", right = title(method);
  find(".try-result").hidden = true; // until there is something to see
  label(before, left);
  label(after, right);
  slider.setAttribute("aria-label", `${picture.name}, left ${left}, right ${right}: the arrow keys move the line`);
  slider.value = 0; // show all of the new picture while it fills in
  for (const canvas of [before, after]) canvas.style.aspectRatio = `${size.width} / ${size.height}`;
  shown = { name: picture.name, method, width: SCALE * size.width, height: SCALE * size.height };
}

function reveal() {
  find(".try-result").hidden = false;
  zoom("fit");
  find(".try-result").scrollIntoView({ block: "nearest" });
}

function busy(yes) {
  find(".try-go").disabled = find("fieldset").disabled = find("select").disabled = yes;
  find(".try-cancel").hidden = find(".try-progress").hidden = !yes;
  find(".try-progress span").textContent = "";
  progress.value = 0;
  root.toggleAttribute("data-busy", yes);
}

async function enlarge(event) {
  event.preventDefault();
  complain("");
  const run = current = {}, size = chosen(), how = method();
  busy(true);
  find(".try-save").disabled = true;
  find(".try-cancel").focus();
  say(`${title(how)} is at work on ${picture.name}.`);
  try {
    await opened(picture);
    stage(size, how);
    const { seconds } = await call("enlarge", { method: how, ...size, pixels });
    if (run !== current) return;
    if (seconds) rates[backend] = seconds / (size.width * size.height);
    done(seconds);
  } catch (error) {
    if (run !== current) return;
    complain(sentence(error));
    stopWorker(); // its memory may be corrupt
  }
  busy(false);
  find(".try-go").focus({ preventScroll: true });
}

function done(seconds) {
  slider.value = 50;
  find(".try-save").disabled = false;
  say(`Done: ${shown.width} × ${shown.height} pixels` + (seconds ? ` in ${seconds.toFixed(1)} seconds.` : "."));
  root.dataset.seconds = seconds ?? "";
  advise();
}

function cancel() {
  if (!root.hasAttribute("data-busy")) return;
  current = undefined;
  stopWorker();
  busy(false);
  say("Cancelled.");
  find(".try-go").focus({ preventScroll: true });
}

/* Viewing and saving the result. */

function zoom(level) {
  const at = (view.scrollLeft + view.clientWidth / 2) / view.scrollWidth;
  const down = (view.scrollTop + view.clientHeight / 2) / view.scrollHeight;
  slider.style.width = level === "fit" ? "" : `${shown.width * level}px`;
  slider.style.maxWidth = level === "fit" ? `${shown.width}px` : "none";
  slider.classList.toggle("try-squares", level >= 2);
  for (const button of root.querySelectorAll("[data-zoom]"))
    button.setAttribute("aria-pressed", button.dataset.zoom === level);
  view.scrollTo(at * view.scrollWidth - view.clientWidth / 2, down * view.scrollHeight - view.clientHeight / 2);
  const wide = view.scrollWidth > view.clientWidth + 1;
  slider.handle = wide; // outside the handle, a finger then moves the picture
  find(".try-hint").textContent = wide
    ? "Scroll to move the picture; drag the line by its handle, or give it the focus and press the arrow keys."
    : "Drag the line, or give it the focus and press the arrow keys.";
  const region = {
    "tabindex": "0",
    "role": "region",
    "aria-label": "The picture, larger than its frame: the arrow keys move it",
  };
  for (const [attribute, value] of Object.entries(region))
    wide ? view.setAttribute(attribute, value) : view.removeAttribute(attribute);
  if (wide) slider.value = 100 * (view.scrollLeft + view.clientWidth / 2) / view.scrollWidth;
}

async function save() {
  const { file } = await call("save");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${shown.name.replace(/\.\w+$/, "")}-${shown.method}-x4.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/* Input. */

async function takeSample(name) {
  try { await take(await (await fetch(here(`samples/${name}.png`))).blob(), `${name}.png`); }
  catch (error) { complain(sentence(error)); }
}

const drop = find(".try-drop"), input = find("input[type=file]");
const given = transfer => [...transfer?.files ?? []];
input.onchange = () => { if (input.files[0]) take(input.files[0]); input.value = ""; };
// Files may be dropped anywhere: without this, the browser would leave the page to open them.
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, event => {
    event.preventDefault();
    drop.classList.add("try-over");
  });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, event => {
    event.preventDefault();
    drop.classList.remove("try-over");
  });
document.addEventListener("drop", event => {
  const [file] = given(event.dataTransfer);
  if (file) take(file);
  else complain("What was dropped is not a file. Save the picture first, then drop it.");
});
document.addEventListener("paste", event => {
  const [file] = given(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  take(file);
});
for (const button of root.querySelectorAll("[data-sample]")) button.onclick = () => takeSample(button.dataset.sample);
for (const button of root.querySelectorAll("[data-zoom]")) button.onclick = () => zoom(button.dataset.zoom);
settings.onsubmit = enlarge;
settings.onchange = event => { advise(); if (event.target.name === "method") prepare(); };
find(".try-cancel").onclick = cancel;
find(".try-save").onclick = () => save().catch(error => complain(sentence(error)));
slider.addEventListener("keydown", event => {
  if (/Arrow(Left|Right)/.test(event.key)) event.preventDefault(); // these keys move the line, not the picture
});
startWorker();
