// What is said before it hurts: how large, how long, how much memory.
import { SCALE } from "./tiles.js";

export const OPEN_LIMIT = 50e6; // pixels of a file: 200 MB once decoded
export const LIMIT = 1024 * 1024; // pixels to enlarge: 16 times as many are the most that every browser's canvas holds
export const SIDE = 4096; // the longest side to enlarge: four times as long is the longest side of a canvas
const PATIENCE = 60; // seconds; what takes longer is not the first choice
const SIDES = [SIDE, 1024, 768, 512, 256, 128];

export const megapixels = pixels => (pixels / 1e6).toFixed(1);
export const fits = ({ width, height }) => width * height <= LIMIT && Math.max(width, height) <= SIDE;

function shrunk({ width, height }, side) {
  const ratio = side / Math.max(width, height);
  return { width: Math.max(Math.round(width * ratio), 1), height: Math.max(Math.round(height * ratio), 1) };
}

// The sizes on offer, largest first: as it is where that fits, and smaller copies.
export function sizes(picture) {
  const smaller = SIDES.filter(side => side < Math.max(picture.width, picture.height)).map(side => shrunk(picture, side));
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
  const { width, height } = picture, about = megapixels(width * height), long = seconds(chosen, rate);
  const large = { width: SCALE * chosen.width, height: SCALE * chosen.height }, memory = Math.round((400e6 + 58 * large.width * large.height) / 1e8) / 10;
  const said = [];
  if (width * height > LIMIT) said.push(`The picture has ${about} megapixels; at most ${megapixels(LIMIT)} can be enlarged here, so a smaller copy is made first.`);
  else if (Math.max(width, height) > SIDE) said.push(`The longest side has ${Math.max(width, height)} pixels; at most ${SIDE} can be enlarged here, so a smaller copy is made first.`);
  else if (chosen.width < width) said.push("A smaller copy is made first.");
  said.push(`The result has ${large.width} × ${large.height} pixels.`);
  if (long >= 20) said.push(`This takes about ${spoken(long)} here` + (large.width * large.height > 4e6 ? ` and ${memory} GB of memory` : "") + "; a smaller size is quicker.");
  return said.join(" ");
}
