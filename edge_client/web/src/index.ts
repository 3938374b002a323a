// cotam-edge: the edge of CoTAM in a browser.

export { type Bitstream, MEDIA_TYPE, readBitstream, writeBitstream } from "./bitstream.js";
export { type Bundle, type Manifest } from "./bundle.js";
export {
  type Asking,
  type Coding,
  EdgeClient,
  query,
  type QueryResponse,
} from "./client.js";
export { type Analysed } from "./encoder.js";
export { CotamError } from "./errors.js";
export { type Runtime } from "./graph.js";
export { type LevelMap } from "./level_map.js";
export { load as loadPicture, type Source } from "./pictures/canvas.js";
export { type Picture } from "./pictures/picture.js";
