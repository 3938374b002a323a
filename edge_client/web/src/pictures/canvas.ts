// Pixels of what a browser holds as a picture: files, elements, bitmaps. Nothing but pixels goes on,
// so no metadata can reach a stream.

import { CotamError } from "../errors.js";
import type { Picture } from "./picture.js";

/** What `EdgeClient` takes as a picture. */
export type Source = ImageBitmapSource | Picture;

const MAX_PIXELS = 100_000_000;

/**
 * The pixels of a picture, upright, in sRGB, on white where it is transparent.
 *
 * Throws `picture_unreadable` for what the browser cannot decode, `picture_too_large`.
 */
export async function load(source: Source): Promise<Picture> {
  if ("pixels" in source) return checked(source);
  const bitmap = await createImageBitmap(source, { imageOrientation: "from-image" }).catch(
    (error: unknown) => {
      const name = source instanceof File ? source.name : "the picture";
      throw new CotamError(
        "picture_unreadable",
        `${name} cannot be decoded by this browser: ${(error as Error).message}`,
      );
    },
  );
  try {
    const { width, height } = bitmap;
    checkSize(width, height);
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    if (!context) throw tooLarge(width, height);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    return withoutAlpha(context.getImageData(0, 0, width, height));
  } finally {
    bitmap.close();
  }
}

function withoutAlpha({ width, height, data }: ImageData): Picture {
  const pixels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < pixels.length; from += 4) {
    pixels[to++] = data[from]!;
    pixels[to++] = data[from + 1]!;
    pixels[to++] = data[from + 2]!;
  }
  return { width, height, pixels };
}

function checked(picture: Picture): Picture {
  const { width, height, pixels } = picture;
  checkSize(width, height);
  if (pixels.length !== 3 * width * height) {
    throw new CotamError(
      "picture_unreadable",
      `a picture of ${width}x${height} has ${3 * width * height} bytes, not ${pixels.length}`,
    );
  }
  return picture;
}

function checkSize(width: number, height: number): void {
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) throw tooLarge(width, height);
}

function tooLarge(width: number, height: number): CotamError {
  return new CotamError(
    "picture_too_large",
    `the picture has ${width}x${height} pixels: one to ${MAX_PIXELS} can be coded`,
    "scale it down first",
  );
}
