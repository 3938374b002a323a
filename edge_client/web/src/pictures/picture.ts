// A picture as the codec takes it, and pieces of it.

/** Pixels in sRGB, three bytes each, row by row. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array; // [height, width, 3]
}

/** The part of a picture from a corner on, as large as there is picture. */
export function crop(
  picture: Picture,
  left: number,
  top: number,
  width: number,
  height: number,
): Picture {
  const wide = Math.min(width, picture.width - left);
  const high = Math.min(height, picture.height - top);
  if (wide === picture.width && high === picture.height) return picture;
  const pixels = new Uint8Array(3 * wide * high);
  for (let row = 0; row < high; row++) {
    const from = 3 * ((top + row) * picture.width + left);
    pixels.set(picture.pixels.subarray(from, from + 3 * wide), 3 * row * wide);
  }
  return { width: wide, height: high, pixels };
}
