// What can go wrong, under the codes that Python's tree and the server's problems have.

/** An error with a stable `code` and, where there is one, a hint at what to do. */
export class CotamError extends Error {
  readonly code: string;
  readonly hint: string;

  constructor(code: string, message: string, hint = "") {
    super(message);
    this.name = "CotamError";
    this.code = code;
    this.hint = hint;
  }
}
