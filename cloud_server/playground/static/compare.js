// What JPEG makes of a picture, by this browser's own coder: the picture need not leave the page.
// Pictures are of cotam-edge: width, height, pixels in three bytes each.

const BEST = 95; // above it, JPEG spends bytes on its own rounding

// In dB; 99 for equal pictures.
export function psnr(a, b) {
  let squares = 0;
  for (let i = 0; i < a.pixels.length; i++) squares += (a.pixels[i] - b.pixels[i]) ** 2;
  return squares === 0 ? 99 : 10 * Math.log10((255 ** 2 * a.pixels.length) / squares);
}

// The smallest JPEG of at least `level` dB, or null; and the best of at most `size` bytes.
export async function jpegs(canvas, picture, pixels, level, size) {
  const made = new Map();
  const jpeg = async (quality) => {
    if (!made.has(quality)) {
      const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", quality / 100));
      made.set(quality, { blob, bytes: blob.size, psnr: psnr(await pixels(blob), picture) });
    }
    return made.get(quality);
  };
  const first = await search(async (quality) => (await jpeg(quality)).psnr >= level);
  const over = await search(async (quality) => (await jpeg(quality)).bytes > size);
  return {
    asGood: first > BEST ? null : await jpeg(first),
    asSmall: await jpeg(Math.max(0, over - 1)),
  };
}

// The lowest quality of which something is true that stays true above it; BEST + 1 where none is.
async function search(isTrue) {
  let [low, high] = [0, BEST + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (await isTrue(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
