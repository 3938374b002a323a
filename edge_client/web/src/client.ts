// The interface of the edge in a browser: pictures and questions in, streams out, answers back.

import { MEDIA_TYPE } from "./bitstream.js";
import { type Bundle, fetchBundle } from "./bundle.js";
import { Connection } from "./connection.js";
import { type Analysed, Encoder } from "./encoder.js";
import { CotamError } from "./errors.js";
import type { Runtime } from "./graph.js";
import { load, type Source } from "./pictures/canvas.js";
import type { Picture } from "./pictures/picture.js";
import { fit } from "./pictures/scaling.js";

/** The answer to a question, as POST /v1/query gives it (docs/api.md). */
export interface QueryResponse {
  readonly id: string;
  readonly answer: string;
  readonly model: string;
  readonly view: "adapter" | "picture";
  readonly image: {
    readonly width: number;
    readonly height: number;
    readonly bytes: number;
    readonly bpp: number;
    readonly codec: string;
  };
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly timings_ms: Readonly<Record<"decode" | "vision" | "generate" | "total", number>>;
}

/** How a picture is coded. */
export interface Coding {
  /** 0 (smallest) to 9 (best); default: the bundle's own. */
  readonly quality?: number;
  /** Bytes of the whole stream at most, instead of a quality. */
  readonly budget?: number;
  /** Long side in pixels: "model" is what the server asks for, "native" keeps every pixel. */
  readonly resolution?: number | "model" | "native";
  /** Whether bits go by importance; default: true. */
  readonly guidance?: boolean;
}

/** What may be told with a question. */
export interface Asking {
  readonly apiKey?: string;
  readonly maxNewTokens?: number;
  readonly signal?: AbortSignal;
}

interface Models {
  readonly data: readonly { readonly bundles: readonly string[]; readonly resolution?: number }[];
}

interface Ready {
  readonly encoder: Encoder;
  readonly resolution: number;
}

/** Codes pictures with a server's bundle, and asks that server about them. */
export class EdgeClient {
  private readonly connection: Connection;
  private loading: Promise<Ready> | null = null;

  /** Fetches nothing before it is needed; `load` does so early. */
  constructor(
    server: string | URL,
    private readonly options: Coding & Runtime & { readonly apiKey?: string } = {},
  ) {
    this.connection = new Connection(server, options.apiKey);
  }

  /** Fetch the server's bundle and start onnxruntime. */
  async load(): Promise<Bundle> {
    return (await this.ready()).encoder.bundle;
  }

  /** The stream of a picture. Throws CotamError. */
  async encode(picture: Source, options: Coding = {}): Promise<Uint8Array<ArrayBuffer>> {
    const coding = { ...this.options, ...options };
    const analysed = await this.analyse(picture, coding);
    if (coding.budget !== undefined) return analysed.codeWithin(coding.budget);
    const { encoder } = await this.ready();
    return analysed.code(coding.quality ?? encoder.bundle.manifest.quality);
  }

  /** A picture at the resolution at which it is coded. */
  async pixels(picture: Source, { resolution = "model" }: Coding = {}): Promise<Picture> {
    const { resolution: served } = await this.ready();
    const pixels = await load(picture);
    const longest = resolution === "model" ? served : resolution;
    return longest === "native" ? pixels : fit(pixels, longest);
  }

  /** A picture after the transform, to be coded several times. */
  async analyse(picture: Source, options: Coding = {}): Promise<Analysed> {
    const coding = { ...this.options, ...options };
    const { encoder } = await this.ready();
    return encoder.analyse(await this.pixels(picture, coding), coding.guidance ?? true);
  }

  /** Code a picture, send it with a question, return the answer. */
  async ask(
    picture: Source,
    question: string,
    options: Coding & Asking = {},
  ): Promise<QueryResponse> {
    const stream = await this.encode(picture, options);
    return submit(this.connection, stream, question, options);
  }

  private ready(): Promise<Ready> {
    this.loading ??= this.open().catch((error: unknown) => {
      this.loading = null; // so that it may be tried again
      throw error;
    });
    return this.loading;
  }

  private async open(): Promise<Ready> {
    const [model] = (await this.connection.json<Models>("v1/models")).data;
    const id = model?.bundles[0];
    if (id === undefined) throw new CotamError("bundle_unknown", "the server has no bundle");
    const bundle = await fetchBundle(this.connection, id);
    const encoder = await Encoder.open(bundle, this.options);
    return { encoder, resolution: model?.resolution || bundle.manifest.resolution };
  }
}

/** Ask a server about a stream that was coded before. */
export function query(
  server: string | URL,
  stream: Uint8Array<ArrayBuffer>,
  question: string,
  options: Asking = {},
): Promise<QueryResponse> {
  return submit(new Connection(server, options.apiKey), stream, question, options);
}

/** The body is the question in UTF-8, and at once the stream. */
function submit(
  connection: Connection,
  stream: Uint8Array<ArrayBuffer>,
  question: string,
  { maxNewTokens, signal }: Asking,
): Promise<QueryResponse> {
  const limit = maxNewTokens === undefined ? "" : `?max_new_tokens=${maxNewTokens}`;
  return connection.json(`v1/query${limit}`, {
    method: "POST",
    headers: { "content-type": MEDIA_TYPE },
    body: new Blob([question, stream]),
    ...(signal && { signal }),
  });
}
