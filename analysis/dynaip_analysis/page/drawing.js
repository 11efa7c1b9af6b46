// A canvas as large as the picture that will be painted: drag a box, or paint a mask, for the reference that is chosen.
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d");
const chosen = element.querySelector("select[name=reference]");
const tool = element.querySelector("select[name=tool]");
const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"];
const regions = {};
const masks = {};
let start = null;

function mask(number) {
  if (!masks[number]) {
    masks[number] = document.createElement("canvas");
    masks[number].width = masks[number].height = 256;
  }
  return masks[number];
}

function tell() {
  const field = document.querySelector("#drawn textarea, #drawn input");
  field.value = JSON.stringify(regions);
  field.dispatchEvent(new Event("input", { bubbles: true }));
  draw();
}

function draw() {
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.font = "600 15px system-ui, sans-serif";
  for (const [number, region] of Object.entries(regions)) {
    const colour = colours[(number - 1) % colours.length];
    context.strokeStyle = context.fillStyle = colour;
    if (region.mask) {
      context.globalAlpha = 0.45;
      context.drawImage(mask(number), 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    } else if (region.box) {
      const [left, top, right, bottom] = region.box.map((edge) => edge * canvas.width);
      context.globalAlpha = 0.15;
      context.fillRect(left, top, right - left, bottom - top);
      context.globalAlpha = 1;
      context.lineWidth = 2;
      context.strokeRect(left, top, right - left, bottom - top);
      context.fillText(number, left + 6, top + 18);
    }
  }
}

function place(event) {
  const frame = canvas.getBoundingClientRect();
  const inside = (value) => Math.min(1, Math.max(0, value));
  return [inside((event.clientX - frame.left) / frame.width), inside((event.clientY - frame.top) / frame.height)];
}

function brush([x, y]) {
  const target = mask(chosen.value).getContext("2d");
  target.fillStyle = colours[(chosen.value - 1) % colours.length];
  target.beginPath();
  target.arc(256 * x, 256 * y, 20, 0, 2 * Math.PI);
  target.fill();
  regions[chosen.value] = { mask: true };
  draw();
}

canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  start = place(event);
  if (tool.value === "mask") brush(start);
});

canvas.addEventListener("pointermove", (event) => {
  if (!start) return;
  const now = place(event);
  if (tool.value === "mask") return brush(now);
  const [left, right] = [start[0], now[0]].sort((one, other) => one - other);
  const [top, bottom] = [start[1], now[1]].sort((one, other) => one - other);
  regions[chosen.value] = { box: [left, top, right, bottom] };
  draw();
});

canvas.addEventListener("pointerup", () => {
  if (!start) return;
  start = null;
  const region = regions[chosen.value];
  if (tool.value === "mask") region.mask = mask(chosen.value).toDataURL("image/png");
  else if (region && region.box && (region.box[2] - region.box[0] < 0.01 || region.box[3] - region.box[1] < 0.01)) delete regions[chosen.value];
  tell();
});

element.querySelector("button").addEventListener("click", () => {
  delete regions[chosen.value];
  delete masks[chosen.value];
  tell();
});

// A picture of the history brings its regions back; a mask stays as it was sent until it is painted on.
document.addEventListener("dynaip-regions", async (event) => {
  for (const held of [regions, masks]) Object.keys(held).forEach((number) => delete held[number]);
  Object.assign(regions, JSON.parse(event.detail || "{}"));
  for (const [number, region] of Object.entries(regions)) if (region.mask) await restore(number, region.mask);
  draw();
});

async function restore(number, source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const target = mask(number).getContext("2d");
  target.drawImage(image, 0, 0, 256, 256);
  target.globalCompositeOperation = "source-in";
  target.fillStyle = colours[(number - 1) % colours.length];
  target.fillRect(0, 0, 256, 256);
  target.globalCompositeOperation = "source-over";
}
