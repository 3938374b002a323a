// The edge in this page, where the server has it and the browser can run it. Without it pictures go
// to the server, as PNGs of the model's size, and are coded there.

// A client of the edge and its reader of pictures, or why there are none.
export async function openEdge(apiKey) {
  const { module } = await (await fetch("playground/edge.json")).json();
  if (!module) return { why: "this server was installed without the edge for browsers" };
  if (!isSecureContext) return { why: "this page came without https, so nothing can be checked" };
  if (!globalThis.WebAssembly || !globalThis.OffscreenCanvas || !globalThis.DecompressionStream) {
    return { why: "this browser is too old for it" };
  }
  try {
    const { EdgeClient, loadPicture } = await import(module);
    const edge = new EdgeClient(new URL(".", document.baseURI), { apiKey, threads: 1 });
    await edge.load();
    return { edge, pixels: loadPicture };
  } catch (error) {
    return { why: error.message };
  }
}
