// Limits and estimates of size, time and memory, shown before the work starts.
import { PIXEL_BYTES, SCALE, tilePixels } from "./tiles.js";

export const OPEN_LIMIT = 50e6; // pixels of a file; 200 MB when decoded
export const LIMIT = 1024 * 1024; // pixels to enlarge; every browser has a canvas for the result, 16 times as many
export const SIDE = 4096; // pixels; the result's longest side is 4 times that, a canvas's maximum
const PATIENCE = 60; // seconds; we preselect the largest size that takes no longer
const SIDES = [SIDE, 1024, 768, 512, 256, 128];

export const megapixels = pixels => (pixels / 1e6).toFixed(1);
export const fits = ({ width, height }) => width * height <= LIMIT && Math.max(width, height) <= SIDE;

function shrunk({ width, height }, side) {
  const ratio = side / Math.max(width, height);
  return { width: Math.max(Math.round(width * ratio), 1), height: Math.max(Math.round(height * ratio), 1) };
}

// The sizes on offer, largest first: the picture itself if it fits, and smaller copies.
export function sizes(picture) {
  const longest = Math.max(picture.width, picture.height);
  const smaller = SIDES.filter(side => side < longest).map(side => shrunk(picture, side));
  return [picture, ...smaller].filter(fits).map(({ width, height }) => ({ width, height }));
}

export const seconds = ({ width, height }, rate) => width * height * rate;
export const firstChoice = (offers, rate) => Math.max(offers.findIndex(offer => seconds(offer, rate) <= PATIENCE), 0);

export function spoken(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${seconds < 10 ? Math.round(seconds) : 5 * Math.round(seconds / 5)} seconds`;
  return `${Math.round(seconds / 60)} minutes`;
}

export function advice(picture, chosen, rate) {
  const { width, height } = picture, longest = Math.max(width, height), long = seconds(chosen, rate);
  const large = { width: SCALE * chosen.width, height: SCALE * chosen.height };
  const tile = PIXEL_BYTES * Math.min(tilePixels(navigator.deviceMemory), chosen.width * chosen.height);
  const memory = Math.round((290e6 + tile + 58 * large.width * large.height) / 1e8) / 10;
  const tooLarge = (amount, limit) =>
    `${amount}; at most ${limit} can be enlarged here, so a smaller copy is made first.`;
  const said = [];
  if (width * height > LIMIT)
    said.push(tooLarge(`The picture has ${megapixels(width * height)} megapixels`, megapixels(LIMIT)));
  else if (longest > SIDE) said.push(tooLarge(`The longest side has ${longest} pixels`, SIDE));
  else if (chosen.width < width) said.push("A smaller copy is made first.");
  said.push(`The result has ${large.width} × ${large.height} pixels.`);
  if (long >= 20) {
    const needed = large.width * large.height > 4e6 ? ` and ${memory} GB of memory` : "";
    said.push(`This takes about ${spoken(long)} here${needed}; a smaller size is quicker.`);
  }
  return said.join(" ");
}
