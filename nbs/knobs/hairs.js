// Experiment 1 of 00_paper: an answer between one sharp hair and the mean of four, and what two losses say of it.
import { control, number, plot, svg } from "./plot.js";

const SIDE = 12, COLUMNS = [4, 5, 6, 7];
const hairs = COLUMNS.map(hair => Array.from({ length: SIDE }, (_, column) => column === hair ? 1 : -1)); // one row each
const mean = hairs[0].map((_, column) => hairs.reduce((sum, hair) => sum + hair[column], 0) / hairs.length);
const answer = t => hairs[0].map((value, column) => (1 - t) * value + t * mean[column]);

const average = values => values.reduce((sum, value) => sum + value, 0) / values.length;
const energy = row => row.slice(1).reduce((sum, value, k) => sum + (value - row[k]) ** 2, 0);
const mse = (row, truth) => average(row.map((value, k) => (value - truth[k]) ** 2));
const energyLoss = (row, truth) => (energy(row) - energy(truth)) ** 2;
const expected = (loss, row) => average(hairs.map(truth => loss(row, truth)));

// A row of pixels, drawn as a square patch of vertical stripes.
function patch(row, left, title) {
  const group = svg("g", { transform: `translate(${left} 4)`, "shape-rendering": "crispEdges" });
  row.forEach((value, column) => {
    const grey = Math.round((value + 1) * 127.5);
    group.append(svg("rect", { x: column * 5, y: 0, width: 5, height: 60, fill: `rgb(${grey} ${grey} ${grey})` }));
  });
  group.append(svg("text", { x: 30, y: 76, "text-anchor": "middle" }, title));
  return group;
}

const figure = document.getElementById("knob-hairs");
const patches = svg("svg", { viewBox: "0 0 420 84", role: "img", "aria-label": "Four candidates and your answer" });
hairs.forEach((row, k) => patches.append(patch(row, 6 + 80 * k, `candidate ${k + 1}`)));
const chart = plot([0, 1], [0, 1], "from one sharp candidate (0) to the mean of all four (1)", "loss / its largest value",
  "Two losses of the answer: the squared error falls, the energy distance rises");
const losses = [
  ["first", "squared error", mse, .5, [.42, .68]],
  ["second", "energy distance", energyLoss, 56.25, [.7, .72]],
];
const lines = losses.map(([kind, name, loss, most, at]) => {
  chart.curve(t => expected(loss, answer(t)) / most, kind);
  chart.name(name, kind, ...at);
  return { name, loss, most, point: chart.point(kind) };
});
let drawn = null;

function show(t) {
  drawn?.remove();
  drawn = patches.appendChild(patch(answer(t), 340, "your answer"));
  const told = lines.map(({ name, loss, most, point }) => {
    const value = expected(loss, answer(t));
    chart.place(point, t, value / most);
    return `${name} ${number(value, 2)}`;
  });
  return `${Math.round(100 * t)} % of the way to the mean\n${told.join(", ")}`;
}

figure.prepend(patches, chart.root);
const set = control(figure, "Your answer", { min: 0, max: 1, step: .01, value: .3 }, show);
chart.drag(t => set(Math.min(Math.max(t, 0), 1)));
