// All that takes time, away from the page: decoding, resizing, the network, encoding. One job after the other.
import { openNetwork, pickBackend, threads } from "./network.js";
import { crop, repeat, resize, rows, toPixels, toPlanes, traits } from "./pixels.js";
import { area, plan, SCALE } from "./tiles.js";

const BAND = 1 << 18; // pixels the page is given to draw at once: a moment's work
let picture, network, backend;

const tell = (event, transfer = []) => self.postMessage(event, transfer);
const draw = (on, top, left, { width, height, data }) => tell({ event: "draw", on, top, left, width, height, data }, [data.buffer]);

function drawWhole(on, image) {
  const step = Math.max(Math.floor(BAND / image.width), 1);
  for (let top = 0; top < image.height; top += step) draw(on, top, 0, rows(image, top, Math.min(top + step, image.height)));
}

function settle(name) { backend = name; tell({ event: "backend", backend, threads: threads() }); }

async function decoded(file) {
  const bitmap = await createImageBitmap(file);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, context.canvas.width, context.canvas.height);
}

async function ready(name) {
  if (network?.name === name) return;
  await network?.release();
  network = undefined;
  network = await openNetwork(name, backend, settle);
}

// The picture by the network, strip by strip; transparency as `smooth`, the bicubic enlargement, has it.
async function byNetwork(small, smooth, pixels) {
  const { width, height } = small, kind = traits(small), whole = toPlanes(small), tasks = plan(height, width, pixels);
  const work = tasks.reduce((sum, { outer, strips }) => strips.reduce((sum, [, seen]) => sum + area(seen), sum + area(outer)), 0);
  let done = 0;
  const step = box => tell({ event: "progress", done: (done += area(box)) / work });
  for (const { outer, strips } of tasks) {
    const maps = await network.run("features", crop(whole, 3, [0, height, 0, width], outer), outer);
    step(outer);
    for (const [part, seen] of strips) {
      const piece = toPixels(await network.run("render", crop(maps, 64, outer, seen), seen), seen, part, kind);
      if (kind.alpha) copyAlpha(smooth, piece, SCALE * part[0], SCALE * part[2]);
      draw("after", SCALE * part[0], SCALE * part[2], piece);
      step(seen);
    }
  }
}

function copyAlpha(from, to, top, left) {
  for (let y = 0; y < to.height; y++)
    for (let x = 0; x < to.width; x++) to.data[4 * (y * to.width + x) + 3] = from.data[4 * ((y + top) * from.width + x + left) + 3];
}

const JOBS = {
  async backend() { settle(await pickBackend()); },
  async open({ file }) {
    picture = undefined; // its memory first
    picture = await decoded(file);
    return { width: picture.width, height: picture.height, ...traits(picture) };
  },
  async prepare({ method }) { await ready(method); },
  async enlarge({ method, width, height, pixels }) {
    const small = width === picture.width && height === picture.height ? picture : resize(picture, width, height);
    const smooth = resize(small, SCALE * width, SCALE * height);
    if (method === "bicubic") { drawWhole("before", repeat(small)); drawWhole("after", smooth); return; }
    drawWhole("both", smooth);
    await ready(method);
    const start = performance.now();
    await byNetwork(small, smooth, pixels);
    return { seconds: (performance.now() - start) / 1000 };
  },
  async encode({ bitmap }) {
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
    return { file: await canvas.convertToBlob({ type: "image/png" }) };
  },
};

let queue = Promise.resolve();
self.onmessage = ({ data: { id, job, ...given } }) => {
  queue = queue.then(() => JOBS[job](given)).then(
    answer => tell({ id, answer: answer ?? {} }),
    error => tell({ id, error: String(error?.message ?? error) }));
};
