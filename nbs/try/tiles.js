// Divides a picture into the boxes that go through the network. A test compares them with those of srgan_nb.inference.
// A box is [top, bottom, left, right], in pixels of the small picture.

export const SCALE = 4;
export const HALO = 40; // how many pixels away an output pixel can see: inference.halo of the shipped networks
export const RENDER_HALO = 3; // how much of it is due to the network's second half
export const PIXEL_BYTES = 1300; // of memory, for each pixel of a tile in the first half
export const STRIP = 8192; // pixels per strip, for the second half

const grown = ([top, bottom, left, right], margin, height, width) => [
  Math.max(top - margin, 0),
  Math.min(bottom + margin, height),
  Math.max(left - margin, 0),
  Math.min(right + margin, width),
];

// Boxes that cover `part`, row by row. Inner boxes do not overlap; outer ones add the margin that the network sees.
export function* tiles(height, width, [tall, wide], margin, part = [0, height, 0, width]) {
  for (let top = part[0]; top < part[1]; top += tall)
    for (let left = part[2]; left < part[3]; left += wide) {
      const inner = [top, Math.min(top + tall, part[1]), left, Math.min(left + wide, part[3])];
      yield [inner, grown(inner, margin, height, width)];
    }
}

// Height and width of the largest equal tiles that have about `pixels` pixels with their margins.
export function tileShape(height, width, pixels, margin) {
  if (height * width <= pixels) return [height, width];
  const side = Math.max(Math.floor(Math.sqrt(pixels)) - 2 * margin, 16);
  return [height, width].map(length => Math.ceil(length / Math.ceil(length / side)));
}

// Pixels per tile, for the first half. Margins cost less in larger tiles, and we take up to 3 % of the machine's memory
// for them: 60 MB of 2 GB, 240 MB of 8 GB or more. Many browsers don't say how much there is; we then count on 4 GB.
export const tilePixels = (gigabytes = 4) => 22_500 * Math.min(Math.max(gigabytes, 2), 8);

// All the work for a picture: tiles for the first half of the network, and each tile's strips for the second.
export function plan(height, width, pixels = tilePixels(navigator.deviceMemory)) {
  return [...tiles(height, width, tileShape(height, width, pixels, HALO), HALO)].map(([inner, outer]) => {
    const wide = inner[3] - inner[2], rows = Math.max(Math.floor(STRIP / wide) - 2 * RENDER_HALO, 8);
    return { outer, strips: [...tiles(height, width, [rows, wide], RENDER_HALO, inner)] };
  });
}

export const area = ([top, bottom, left, right]) => (bottom - top) * (right - left);
