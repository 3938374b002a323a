// Asking back, step by step: small picture, question, what was asked for, what came, sharper place.
//
// A device keeps the picture until its answer is there. This page has the server's edge code it, so
// it goes to the server as a PNG; `ask` is the page's own fetch, which throws what is refused.

const STREAM = "application/vnd.cotam";
const FIRST = 1; // quality of the first stream, as of `edge_client send --ask-back`
const CELL = 16; // pixels of a cell that is asked for
const MARK = "rgb(255 122 46 / 0.9)";

function bytes(text, type) {
  return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });
}

async function post(ask, path, body, type) {
  const response = await ask(path, { method: "POST", body, headers: { "content-type": type } });
  return response.json();
}

// Calls show(step, found) for each step of a question about the picture on a canvas.
export async function askBack(ask, canvas, guidance, prompt, show) {
  const png = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const coding = new URLSearchParams({ quality: FIRST, guidance });
  const small = await post(ask, `playground/pictures?${coding}`, png, "image/png");
  show("first", small);
  const body = new Blob([prompt, bytes(small.stream, STREAM)]);
  const answer = await post(ask, "v1/query?ask_back=true", body, STREAM);
  show("answer", answer);
  if (!answer.need) return;
  const { cells, quality, handle } = answer.need;
  const wish = new URLSearchParams({ guidance, first: FIRST, cells, quality });
  const finer = await post(ask, `playground/enhancements?${wish}`, png, "image/png");
  show("finer", finer);
  const enhancement = bytes(finer.enhancement, STREAM);
  show("answer", await post(ask, `v1/query/${handle}/enhancement`, enhancement, STREAM));
}

// A picture of base64 as a figure, cells marked and told about by a caption.
export function figure(file, caption, rows = []) {
  const made = document.createElement("figure");
  const canvas = document.createElement("canvas");
  const text = document.createElement("figcaption");
  text.textContent = caption;
  made.append(canvas, text);
  createImageBitmap(bytes(file, "image/png")).then((bitmap) => {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    context.strokeStyle = MARK;
    context.lineWidth = 2;
    rows.forEach((row, y) =>
      row.forEach((chosen, x) => {
        if (chosen) context.strokeRect(x * CELL + 1, y * CELL + 1, CELL - 2, CELL - 2);
      }),
    );
  });
  return made;
}
