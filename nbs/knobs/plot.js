// What the knobs share: SVG elements, and a plot with axes, curves and points.

export function svg(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

const WIDTH = 420, HEIGHT = 250, LEFT = 44, RIGHT = 12, TOP = 12, BOTTOM = 40;

// An empty plot for x from x0 to x1 and y from y0 to y1. `x` and `y` turn values into places.
export function plot([x0, x1], [y0, y1], xTitle, yTitle, label) {
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const x = value => LEFT + (value - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
  const y = value => HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
  const add = (tag, attributes, text) => root.appendChild(svg(tag, attributes, text));
  for (let k = 0; k <= 4; k++) {
    const across = x0 + (x1 - x0) * k / 4, up = y0 + (y1 - y0) * k / 4;
    add("line", { x1: x(x0), x2: x(x1), y1: y(up), y2: y(up), class: "knob-grid" });
    add("text", { x: x(across), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, +across.toFixed(2));
    add("text", { x: LEFT - 6, y: y(up) + 4, "text-anchor": "end" }, +up.toFixed(2));
  }
  add("text", { x: (x(x0) + x(x1)) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xTitle);
  add("text", { x: 12, y: HEIGHT / 2, transform: `rotate(-90 12 ${HEIGHT / 2})`, "text-anchor": "middle" }, yTitle);
  const curve = (f, kind, from = x0, to = x1) => {
    const places = Array.from({ length: 161 }, (_, k) => from + (to - from) * k / 160);
    const inside = places.filter(place => place >= x0 && place <= x1 && f(place) >= y0 && f(place) <= y1);
    const points = inside.map(place => `${x(place).toFixed(1)},${y(f(place)).toFixed(1)}`).join(" ");
    return add("polyline", { points, class: `knob-${kind}`, fill: "none" });
  };
  const name = (text, kind, across, up) => add("text", { x: x(across), y: y(up), class: `knob-${kind}` }, text);
  const point = kind => add("circle", { r: 5, class: `knob-${kind}` });
  const place = (dot, across, up) => { dot.setAttribute("cx", x(across)); dot.setAttribute("cy", y(up)); };
  // The value under a pointer, while it is down.
  const drag = change => {
    const move = event => {
      const box = root.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width * WIDTH;
      change(x0 + (across - LEFT) / (WIDTH - LEFT - RIGHT) * (x1 - x0));
    };
    root.addEventListener("pointerdown", event => { root.setPointerCapture(event.pointerId); move(event); });
    root.addEventListener("pointermove", event => { if (event.buttons) move(event); });
    root.style.touchAction = "pan-y";
  };
  return { root, curve, name, point, place, drag };
}

// A number with a real minus sign.
export const number = (value, digits) => value.toFixed(digits).replace("-", "−");

// A labelled slider, and a text that screen readers read when it changes.
export function control(figure, label, range, change) {
  const [row, input, told] = ["label", "input", "output"].map(tag => document.createElement(tag));
  row.textContent = label;
  Object.assign(input, { type: "range", ...range });
  row.append(input);
  const show = () => { told.textContent = change(+input.value); input.setAttribute("aria-valuetext", told.textContent); };
  input.addEventListener("input", show);
  figure.prepend(row, told);
  show();
  return value => { input.value = value; show(); };
}
