// Everything slow runs here, outside the page: decoding, resizing, the network, encoding. One job at a time.
import { openNetwork, pickBackend } from "./network.js";
import { crop, repeat, resize, shrink, spread, toPixels, toPlanes, traits } from "./pixels.js";
import { area, plan, SCALE } from "./tiles.js";

const PAUSE = 200; // milliseconds between two previews of a picture that fills in
const LOOK = 1024; // longest side of a preview: a larger one would cost memory and time
const CANVAS = 2 ** 24; // pixels: Safari on phones draws no larger canvas, so we read files in bands
let picture, network, result; // the open picture, the network, and the canvas that fills in
let backend, threads; // `wasm` or `webgpu`, and how many threads `wasm` has

const tell = (event, transfer = []) => self.postMessage(event, transfer);
const show = (on, bitmap) => tell({ event: "show", on, bitmap }, [bitmap]); // moved to the page, not copied

// A canvas in main memory, so that it survives the loss of the graphics card.
function surface(width, height) {
  return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
}

function painted({ width, height, data }) {
  const context = surface(width, height);
  context.putImageData(new ImageData(data, width, height), 0, 0);
  return context;
}

function look({ canvas }) {
  const ratio = LOOK / Math.max(canvas.width, canvas.height);
  if (ratio >= 1) return createImageBitmap(canvas);
  const resizeWidth = Math.ceil(canvas.width * ratio), resizeHeight = Math.ceil(canvas.height * ratio);
  return createImageBitmap(canvas, { resizeWidth, resizeHeight });
}

function settle(name) { backend = name; tell({ event: "backend", backend, threads }); }

async function decoded(file) {
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap, rows = Math.min(Math.max(Math.floor(CANVAS / width), 1), height);
  const band = surface(width, rows), data = new Uint8ClampedArray(4 * width * height);
  for (let top = 0; top < height; top += rows) {
    const tall = Math.min(rows, height - top);
    band.clearRect(0, 0, width, rows);
    band.drawImage(bitmap, 0, -top);
    data.set(band.getImageData(0, 0, width, tall).data, 4 * width * top);
  }
  bitmap.close();
  return spread({ width, height, data });
}

async function ready(name) {
  if (network?.name === name) return;
  tell({ event: "loading" });
  await network?.release();
  network = undefined;
  network = await openNetwork(name, backend, threads, settle);
}

// Enlarges the picture with the network, strip by strip, into `result`. Transparency comes from `smooth`, the bicubic
// enlargement.
async function byNetwork(small, kind, smooth, pixels) {
  const { width, height } = small, whole = toPlanes(small), tasks = plan(height, width, pixels);
  let work = 0;
  for (const { outer, strips } of tasks) {
    work += area(outer);
    for (const [, seen] of strips) work += area(seen);
  }
  let done = 0, shown = 0;
  const step = box => tell({ event: "progress", done: (done += area(box)) / work });
  for (const { outer, strips } of tasks) {
    const maps = await network.run("features", crop(whole, 3, [0, height, 0, width], outer), outer);
    step(outer);
    for (const [part, seen] of strips) {
      const piece = toPixels(await network.run("render", crop(maps, 64, outer, seen), seen), seen, part, kind);
      if (kind.alpha) copyAlpha(smooth, piece, SCALE * part[0], SCALE * part[2]);
      result.putImageData(new ImageData(piece.data, piece.width, piece.height), SCALE * part[2], SCALE * part[0]);
      step(seen);
      if (performance.now() - shown > PAUSE) { show("after", await look(result)); shown = performance.now(); }
    }
  }
}

function copyAlpha(from, to, top, left) {
  for (let y = 0; y < to.height; y++)
    for (let x = 0; x < to.width; x++) {
      const source = (y + top) * from.width + x + left;
      to.data[4 * (y * to.width + x) + 3] = from.data[4 * source + 3];
    }
}

const JOBS = {
  async backend(asked) {
    threads = self.crossOriginIsolated ? asked.threads : 1;
    settle(await pickBackend());
  },
  async open({ file }) {
    picture = undefined; // frees its memory first
    picture = await decoded(file);
    return { width: picture.width, height: picture.height, ...traits(picture) };
  },
  async prepare({ method }) { await ready(method); },
  async enlarge({ method, width, height, pixels }) {
    const isWhole = width === picture.width && height === picture.height;
    const smaller = () => (traits(picture).alpha ? shrink : resize)(picture, width, height);
    const small = isWhole ? picture : smaller();
    const kind = traits(small);
    let smooth = resize(small, SCALE * width, SCALE * height);
    show("before", painted(method === "bicubic" ? repeat(small) : smooth).canvas.transferToImageBitmap());
    result = painted(smooth);
    if (method === "bicubic") { show("after", await createImageBitmap(result.canvas)); return {}; }
    show("after", await look(result));
    if (!kind.alpha) smooth = undefined; // frees its memory: it may be large
    await ready(method);
    const start = performance.now();
    tell({ event: "started" });
    await byNetwork(small, kind, smooth, pixels);
    show("after", await createImageBitmap(result.canvas));
    return { seconds: (performance.now() - start) / 1000 };
  },
  async save() { return { file: await result.canvas.convertToBlob({ type: "image/png" }) }; },
};

let queue = Promise.resolve();
self.onmessage = ({ data: { id, job, ...given } }) => {
  queue = queue.then(() => JOBS[job](given)).then(
    answer => tell({ id, answer: answer ?? {} }),
    error => tell({ id, error: String(error?.message ?? error) }));
};
