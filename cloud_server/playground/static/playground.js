// The playground: picture -> stream -> panels; stream, question -> answer.
//
// Streams are made in this page where that can be (edge.js); else a PNG goes to the server for it.
// Everything that comes from a server or a file becomes text or pixels, never markup.

import { askBack, figure } from "./asking.js";
import { jpegs, psnr } from "./compare.js";
import { openEdge } from "./edge.js";

const $ = (id) => document.getElementById(id);
const COOL = [31, 127, 149];
const WARM = [255, 122, 46];
const OPACITY = 0.55;
const STREAM = "application/vnd.cotam";

const state = {
  key: "",
  side: 256, // pixels of the long side at which the bundle codes
  name: "picture", // of the file that was chosen, without its suffix
  edge: null, // codes in this page; null: the server codes
  picture: null, // its pixels, where this page codes
  sent: null, // Blob: PNG, or a stream
  stream: null, // Blob of the stream that answers are asked about
  truth: new Map(), // right answers of the example by question
  showing: null, // AbortController of the picture under way
};

class Refused extends Error {
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (state.key) headers.authorization = `Bearer ${state.key}`;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (problem.code === "key_missing" || problem.code === "key_refused") $("door").hidden = false;
  throw new Refused(told(problem, response.status), problem.code);
}

function told(problem, status) {
  const detail = problem.detail || `the server answered ${status}`;
  return problem.hint ? `${detail} (${problem.hint})` : detail;
}

function complain(error) {
  if (error.name === "AbortError") return;
  $("trouble").textContent = error instanceof Refused ? error.message : `It failed: ${error.message}`;
  $("trouble").hidden = false;
}

function bytes(count) {
  return `${count.toLocaleString("en")} B`;
}

function blob(text, type) {
  return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });
}

function show(image, file) {
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
}

// What a click on the link saves, and under which name.
function save(link, file, name) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(file);
  link.download = name;
}

// --- Life of the page ---

async function start() {
  const [model] = (await (await ready()).json()).data;
  $("trouble").hidden = true;
  const manifest = await (await ask(`v1/bundles/${model.bundles[0]}`)).json();
  state.side = manifest.resolution;
  $("asking-back").hidden = !manifest.codec.conditional;
  $("quality").value = manifest.quality;
  $("level").textContent = $("quality").value;
  $("model").textContent = model.id;
  $("sees").textContent = model.view === "adapter" ? "adapted latents" : "decoded pictures";
  $("bundle").textContent = model.bundles[0];
  $("server").hidden = false;
  $("door").hidden = true;
  await loadEdge();
  const examples = await (await fetch("playground/examples.json")).json();
  const buttons = Object.entries(examples).map(([name, questions]) => example(name, questions));
  $("examples").replaceChildren(...buttons);
  buttons[0].click();
}

async function loadEdge() {
  $("where").textContent = "The edge is loading.";
  const { edge, why, pixels } = await openEdge(state.key);
  state.edge = edge ? { client: edge, pixels } : null;
  $("place").textContent = edge
    ? "It is coded here, and never leaves this page."
    : `It is scaled before it leaves this page: the server codes it, for ${why}.`;
  $("where").textContent = "";
}

// The models, once there is one.
async function ready() {
  for (;;) {
    try {
      return await ask("v1/models");
    } catch (error) {
      if (error.code !== "not_ready") throw error;
      complain(error);
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

function example(name, questions) {
  const image = new Image();
  image.src = `playground/${name}.png`;
  image.alt = name;
  const button = document.createElement("button");
  button.title = name;
  button.setAttribute("aria-pressed", "false");
  button.append(image);
  button.addEventListener("click", async () => {
    try {
      const file = await (await fetch(image.src)).blob();
      await take(file, questions, name);
      button.setAttribute("aria-pressed", "true");
    } catch (error) {
      complain(error);
    }
  });
  return button;
}

function suggest(questions) {
  state.truth = new Map(questions.map(({ prompt, answer }) => [prompt, answer]));
  $("suggestions").replaceChildren(
    ...questions.map(({ prompt }) => {
      const button = document.createElement("button");
      button.textContent = prompt;
      button.addEventListener("click", () => {
        $("prompt").value = prompt;
        $("question").requestSubmit();
      });
      return button;
    }),
  );
}

// --- The picture ---

async function take(file, questions = [], name = file.name) {
  for (const button of $("examples").children) button.setAttribute("aria-pressed", "false");
  const isStream = name.endsWith(".cotam");
  state.name = name.replace(/\.\w+$/, "");
  state.picture = null;
  if (isStream) state.sent = new Blob([file], { type: STREAM });
  else if (state.edge) state.picture = await drawn(file);
  else state.sent = await scaled(file);
  $("about-picture").textContent = isStream
    ? "a stream: the picture stayed where it was"
    : `${$("picture").width} × ${$("picture").height}, file of ${bytes(file.size)}`;
  suggest(questions);
  $("answers").replaceChildren();
  await travel();
}

// The pixels that the edge codes, drawn as "The picture" on the way.
async function drawn(file) {
  const picture = await state.edge.client.pixels(file);
  const { width, height, pixels } = picture;
  const canvas = $("picture");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  image.data.fill(255);
  for (let i = 0; i < width * height; i++) image.data.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return picture;
}

// A PNG of the picture at the model's size, drawn as "The picture" on the way. Pixels alone are
// sent: no metadata, and never more of them than the model can use.
async function scaled(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Refused(`${file.name || "the file"} is no picture that this browser can read`);
  }
  const ratio = Math.min(1, state.side / Math.max(bitmap.width, bitmap.height));
  const canvas = $("picture");
  canvas.width = Math.max(1, Math.round(bitmap.width * ratio));
  canvas.height = Math.max(1, Math.round(bitmap.height * ratio));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

async function travel() {
  state.showing?.abort();
  const showing = (state.showing = new AbortController());
  state.stream = null;
  $("send").disabled = true;
  $("trouble").hidden = true;
  $("panels").classList.add("busy");
  document.body.dataset.state = "coding";
  try {
    const coding = { quality: $("quality").value, guidance: $("guidance").checked };
    if (state.picture) state.sent = await coded(coding);
    const query = new URLSearchParams(coding);
    const response = await ask(`playground/pictures?${query}`, {
      method: "POST",
      body: state.sent,
      headers: { "content-type": state.sent.type },
      signal: showing.signal,
    });
    const found = await response.json();
    if (state.picture) await compare(found);
    await draw(found);
    $("where").textContent = leaves();
    $("send").disabled = false;
    document.body.dataset.state = "shown";
  } catch (error) {
    complain(error);
    if (showing === state.showing) document.body.dataset.state = "failed";
  } finally {
    if (showing === state.showing) $("panels").classList.remove("busy");
  }
}

async function coded({ quality, guidance }) {
  const options = { quality: Number(quality), guidance, resolution: "native" };
  return new Blob([await state.edge.client.encode(state.picture, options)], { type: STREAM });
}

// What the server tells of a picture that it got, told here of one that it did not get.
async function compare(found) {
  const { pixels } = state.edge;
  const decoded = await pixels(blob(found.decoded, "image/png"));
  found.psnr = psnr(decoded, state.picture);
  const { asGood, asSmall } = await jpegs(
    $("picture"),
    state.picture,
    pixels,
    found.psnr,
    found.image.bytes,
  );
  found.jpeg_as_good = asGood;
  found.jpeg_as_small = asSmall;
}

function leaves() {
  const size = bytes(state.sent.size);
  if (state.picture) return `Coded in this page: ${size} leave it, and your questions.`;
  if (state.sent.type === STREAM) return `${size} leave this page, and your questions.`;
  return `Coded by the server: a PNG of ${size} leaves this page.`;
}

async function draw(found) {
  const { image, levels, psnr } = found;
  state.stream = blob(found.stream, STREAM);
  show($("decoded"), blob(found.decoded, "image/png"));
  await $("decoded").decode();
  save($("save-stream"), state.stream, `${state.name}.cotam`);
  save($("save-decoded"), blob(found.decoded, "image/png"), `${state.name}.decoded.png`);
  $("save").hidden = false;
  if (psnr === null) {
    $("picture").width = $("picture").height = 0;
  }
  const quality = psnr === null ? "" : `, ${psnr.toFixed(1)} dB`;
  $("about-decoded").textContent =
    `${bytes(image.bytes)}, ${image.bpp.toFixed(3)} bit per pixel${quality}`;
  map(levels, image);
  jpeg(found.jpeg_as_small, image.bytes);
  weigh(image.bytes, found.jpeg_as_good);
}

// The levels over the picture, which keeps its colours where nothing is marked: shared/palette.py.
function map(levels, { width, height }) {
  const canvas = $("map");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage($("picture").width ? $("picture") : $("decoded"), 0, 0, width, height);
  if (!levels) {
    $("about-map").textContent = "the same everywhere";
    return;
  }
  const { cell, most, rows } = levels;
  let [more, fewer] = [0, 0];
  rows.forEach((row, y) =>
    row.forEach((level, x) => {
      more += 2 * level > most;
      fewer += 2 * level < most;
      // -1 fewest .. 1 most; of two levels the lower one is not marked.
      const side = most === 1 ? level : (2 * level) / most - 1;
      const [r, g, b] = side < 0 ? COOL : WARM;
      context.fillStyle = `rgb(${r} ${g} ${b} / ${OPACITY * Math.abs(side)})`;
      context.fillRect(x * cell, y * cell, cell - 1, cell - 1);
    }),
  );
  const all = rows.length * rows[0].length;
  $("about-map").textContent = `of ${all} cells ${more} get more bits, ${fewer} fewer`;
}

function jpeg(found, size) {
  if (!found) {
    $("jpeg").removeAttribute("src");
    $("about-jpeg").textContent = "needs the picture";
    return;
  }
  show($("jpeg"), found.blob ?? blob(found.file, "image/jpeg"));
  const told = found.bytes > size ? "the smallest there is" : "the best that fits";
  $("about-jpeg").textContent = `${bytes(found.bytes)}, ${found.psnr.toFixed(1)} dB: ${told}`;
}

function weigh(ours, asGood) {
  $("bytes").hidden = !asGood;
  if (!asGood) return;
  const most = Math.max(ours, asGood.bytes);
  for (const [name, size] of [["ours", ours], ["jpeg", asGood.bytes]]) {
    $(`bar-${name}`).style.width = `${(100 * size) / most}%`;
    $(`size-${name}`).textContent = bytes(size);
  }
  const factor = document.createElement("b");
  factor.textContent = `${(asGood.bytes / ours).toFixed(1)}×`;
  const coder = state.picture ? "A JPEG of equal PSNR, by this browser," : "A JPEG of equal PSNR";
  $("factor").replaceChildren(`${coder} takes `, factor, " the bytes.");
}

// --- The question ---

async function question(prompt) {
  const line = entry(prompt);
  document.body.dataset.state = "answering";
  try {
    const response = await ask("v1/query?stream=true", {
      method: "POST",
      body: new Blob([prompt, state.stream]),
      headers: { "content-type": STREAM },
    });
    for await (const [name, data] of events(response.body)) {
      if (name === "text") line.answer.textContent += data.text;
      if (name === "done") finish(line, prompt, data);
      if (name === "error") throw new Refused(told(data, data.status));
    }
  } catch (error) {
    line.item.className = "failed";
    line.answer.textContent = error.message;
  }
  line.item.classList.remove("growing");
  document.body.dataset.state = "answered";
}

// The same in two requests where the first answer is not sure, each step of it shown.
async function questionInTwo(prompt) {
  const line = entry(prompt);
  const steps = document.createElement("div");
  steps.className = "steps";
  line.answer.before(steps);
  document.body.dataset.state = "answering";
  let first = 0;
  const show = (step, found) => {
    if (step === "first") {
      first = found.image.bytes;
      steps.append(figure(found.decoded, `first: ${bytes(first)}`));
    } else if (step === "finer") {
      const size = bytes(found.bytes);
      const count = found.cells.flat().filter(Boolean).length;
      steps.append(figure(steps.decoded, `asked for: ${count} cells`, found.cells));
      steps.append(figure(found.decoded, `came: ${size}`));
    } else {
      finish(line, prompt, found);
      const sure = found.confidence === null ? "" : ` · right with ${found.confidence.toFixed(2)}`;
      line.notes.append(sure);
      if (found.need) steps.querySelector("figcaption").append(` → “${found.answer}”?`);
    }
    if (found.decoded) steps.decoded = found.decoded;
  };
  try {
    await askBack(ask, $("picture"), $("guidance").checked, prompt, show);
  } catch (error) {
    line.item.className = "failed";
    line.answer.textContent = error.message;
  }
  line.item.classList.remove("growing");
  document.body.dataset.state = "answered";
}

function entry(prompt) {
  const item = document.createElement("li");
  const asked = document.createElement("q");
  const answer = document.createElement("p");
  const notes = document.createElement("small");
  item.className = "growing";
  asked.textContent = prompt;
  item.append(asked, answer, notes);
  $("answers").prepend(item);
  return { item, answer, notes };
}

function finish({ answer, notes }, prompt, found) {
  answer.textContent = found.answer;
  const times = ["decode", "vision", "generate"].map(
    (step) => `${step} ${Math.round(found.timings_ms[step])} ms`,
  );
  notes.textContent = [`${bytes(found.image.bytes)} sent`, ...times].join(" · ");
  const truth = state.truth.get(prompt);
  if (truth === undefined) return;
  const verdict = document.createElement("span");
  const right = truth.toLowerCase() === found.answer.trim().toLowerCase();
  verdict.className = right ? "right" : "wrong";
  verdict.textContent = right ? "right" : `the scene says: ${truth}`;
  notes.append(" · ", verdict);
}

// Names and data of server-sent events.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const found = text.split("\n\n");
    text = found.pop();
    for (const one of found) {
      const fields = new Map(one.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      yield [fields.get("event"), JSON.parse(fields.get("data"))];
    }
  }
}

// --- Hands ---

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) take(file).catch(complain);
  $("file").value = "";
});

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    const file = event.dataTransfer?.files[0];
    if (name === "drop" && file) take(file).catch(complain);
  });
}

$("quality").addEventListener("input", () => ($("level").textContent = $("quality").value));
for (const id of ["quality", "guidance"]) {
  $(id).addEventListener("change", () => (state.sent || state.picture) && travel());
}

$("question").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = $("prompt").value.trim();
  if (!prompt || !state.stream) return;
  if ($("ask-back").checked && $("picture").width) questionInTwo(prompt);
  else question(prompt);
});

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = $("key").value.trim();
  $("key").value = "";
  start().catch(complain);
});

start().catch(complain);
