// Requests to a CoTAM server, whose problems become errors: edge_client/server/protocol.py.

import { CotamError } from "./errors.js";

interface Problem {
  readonly code?: string;
  readonly detail?: string;
  readonly hint?: string;
}

/** A server's address and the key that it asks for. */
export class Connection {
  private readonly base: string;

  /** server: its address, with or without `/v1`. */
  constructor(
    server: string | URL,
    private readonly apiKey = "",
  ) {
    this.base = String(server).replace(/\/+$/, "").replace(/\/v1$/, "");
  }

  /** A response of success. Throws the error that the server reports, or `server_unreachable`. */
  async request(path: string, options: RequestInit = {}): Promise<Response> {
    const headers = new Headers(options.headers);
    if (this.apiKey) headers.set("authorization", `Bearer ${this.apiKey}`);
    const sending = fetch(`${this.base}/${path}`, { ...options, headers });
    const response = await sending.catch((error: unknown) => {
      if ((error as Error).name === "AbortError") throw error;
      throw new CotamError(
        "server_unreachable",
        `${this.base} cannot be reached: ${(error as Error).message}`,
        "is it running, and does it allow this page's origin (COTAM_CORS_ORIGINS)?",
      );
    });
    if (response.ok) return response;
    const problem = (await response.json().catch(() => ({}))) as Problem;
    throw new CotamError(
      problem.code ?? "upstream",
      problem.detail ?? `the server answered ${response.status}`,
      problem.hint,
    );
  }

  async json<T>(path: string, options: RequestInit = {}): Promise<T> {
    return (await (await this.request(path, options)).json()) as T;
  }

  async bytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await (await this.request(path)).arrayBuffer());
  }
}
