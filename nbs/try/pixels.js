// Pictures as numbers. A picture is { width, height, data } like ImageData: RGBA, 8 bits each, row by row.
import { SCALE } from "./tiles.js";

// Separate channels in [0, 1], as the network needs them.
export function toPlanes({ width, height, data }) {
  const count = width * height, planes = new Float32Array(3 * count);
  for (let c = 0; c < 3; c++) for (let i = 0; i < count; i++) planes[c * count + i] = data[4 * i + c] / 255;
  return planes;
}

// Cuts the box `to` out of planes that fill the box `from`.
export function crop(planes, channels, from, to) {
  const wide = from[3] - from[2], tall = from[1] - from[0], w = to[3] - to[2], h = to[1] - to[0];
  const out = new Float32Array(channels * h * w);
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = to[0] - from[0]; y < to[1] - from[0]; y++, at += w) {
      const start = (c * tall + y) * wide + to[2] - from[2];
      out.set(planes.subarray(start, start + w), at);
    }
  return out;
}

// Takes the network's output for the box `seen`, gives the pixels of the box `part`, four times as large.
// The array itself clamps and rounds.
export function toPixels(sr, seen, part, { grey }) {
  const wide = SCALE * (seen[3] - seen[2]), count = wide * SCALE * (seen[1] - seen[0]);
  const width = SCALE * (part[3] - part[2]), height = SCALE * (part[1] - part[0]);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0, at = 0; y < height; y++) {
    let from = (y + SCALE * (part[0] - seen[0])) * wide + SCALE * (part[2] - seen[2]);
    for (let x = 0; x < width; x++, from++, at += 4) {
      for (let c = 0; c < 3; c++) data[at + c] = 255 * sr[c * count + from];
      data[at + 3] = 255;
      if (grey) { // as Pillow's convert("L")
        const sum = 19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 32768;
        data[at] = data[at + 1] = data[at + 2] = sum >> 16;
      }
    }
  }
  return { width, height, data };
}

// Keys' cubic with a = -0.5.
const cubic = x => (x = Math.abs(x)) < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;

// For each pixel of a side resized from `from` to `to` pixels: its first tap, and the taps' weights. Shrinking widens
// the kernel.
function taps(from, to) {
  const ratio = from / to, stretch = Math.max(ratio, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * ratio;
    const first = Math.max(Math.floor(centre - 2 * stretch + 0.5), 0);
    const end = Math.min(Math.floor(centre + 2 * stretch + 0.5), from);
    const weights = Array.from({ length: end - first }, (_, k) => cubic((first + k - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b);
    return [first, weights.map(weight => weight / sum)];
  });
}

// Bicubic resizing to any size: as `enlarge` of srgan_nb.utils, and for smaller sizes as the training data were made.
export function resize({ width, height, data }, newWidth, newHeight) {
  const row = 4 * newWidth;
  const across = new Float32Array(row * height), out = new Uint8ClampedArray(row * newHeight);
  taps(width, newWidth).forEach(([first, weights], x) => {
    for (let y = 0; y < height; y++)
      for (let c = 0; c < 4; c++) {
        let sum = 0;
        for (let k = 0, from = 4 * (y * width + first) + c; k < weights.length; k++, from += 4)
          sum += weights[k] * data[from];
        across[y * row + 4 * x + c] = sum;
      }
  });
  taps(height, newHeight).forEach(([first, weights], y) => {
    for (let i = 0; i < row; i++) {
      let sum = 0;
      for (let k = 0, from = first * row + i; k < weights.length; k++, from += row) sum += weights[k] * across[from];
      out[y * row + i] = sum;
    }
  });
  return { width: newWidth, height: newHeight, data: out };
}

// Each pixel becomes a square.
export function repeat({ width, height, data }) {
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const out = new Uint32Array(width * height * SCALE * SCALE);
  for (let y = 0, at = 0; y < SCALE * height; y++)
    for (let x = 0; x < width; x++, at += SCALE) out.fill(from[Math.floor(y / SCALE) * width + x], at, at + SCALE);
  return { width: SCALE * width, height: SCALE * height, data: new Uint8ClampedArray(out.buffer) };
}

// Browsers and many other programs store black where a picture is fully transparent, which would darken the edges next
// to it. So such pixels take the colour of visible neighbours, up to `reach` pixels away, as in srgan_nb.inference.
export function spread(picture, reach = 4) {
  const { width, height, data } = picture;
  const round = new Uint8Array(width * height); // the round in which a pixel got its colour; 0: not yet
  for (let i = 0; i < round.length; i++) round[i] = data[4 * i + 3] > 0;
  if (!round.includes(0)) return picture;
  for (let now = 1; now <= reach; now++)
    for (let y = 0, i = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++) {
        if (round[i]) continue;
        const neighbours = [y > 0 && i - width, y < height - 1 && i + width, x > 0 && i - 1, x < width - 1 && i + 1];
        const from = neighbours.find(j => j !== false && round[j] && round[j] <= now);
        if (from === undefined) continue;
        round[i] = now + 1;
        for (let c = 0; c < 3; c++) data[4 * i + c] = data[4 * from + c];
      }
  return picture;
}

// A smaller copy; colours are weighted by their opacity.
export function shrink(picture, width, height) {
  const { data } = picture, shares = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i++) shares[i] = i % 4 === 3 ? data[i] : data[i] * data[i | 3] / 255;
  const small = resize({ ...picture, data: shares }, width, height);
  for (let i = 0; i < small.data.length; i++)
    if (i % 4 !== 3 && small.data[i | 3]) small.data[i] = small.data[i] * 255 / small.data[i | 3];
  return spread(small);
}

export function traits({ data }) {
  let grey = true, alpha = false;
  for (let i = 0; i < data.length && (grey || !alpha); i += 4) {
    grey &&= data[i] === data[i + 1] && data[i] === data[i + 2];
    alpha ||= data[i + 3] < 255;
  }
  return { grey, alpha };
}
