// Experiment 3 of 00_paper: -log D against log(1 - D), and how hard each pulls at a D of your choice.
import { control, number, plot } from "./plot.js";

const LOSSES = [
  { kind: "first", name: "−log D", at: [.6, 1.1], loss: d => -Math.log(d), slope: d => -1 / d, pull: d => 1 - d },
  { kind: "second", name: "log(1 − D)", at: [.45, -1.7], loss: d => Math.log(1 - d), slope: d => -1 / (1 - d), pull: d => d },
];
const LEAST = .005, MOST = .995;

const figure = document.getElementById("knob-adversarial");
const chart = plot([0, 1], [-5, 5], "D: how real the picture looks to D", "G's loss", "The two losses and their slopes at D");
for (const line of LOSSES) {
  chart.curve(line.loss, line.kind, LEAST, MOST);
  chart.name(line.name, line.kind, ...line.at);
  line.point = chart.point(line.kind);
}
let tangents = [];

function show(d) {
  tangents.forEach(tangent => tangent.remove());
  tangents = LOSSES.map(({ kind, loss, slope, point }) => {
    chart.place(point, d, loss(d));
    const reach = Math.min(.15, 1.5 / Math.abs(slope(d))); // as long when it is steep
    return chart.curve(at => loss(d) + slope(d) * (at - d), `${kind}-tangent`, d - reach, d + reach);
  });
  const told = LOSSES.map(({ name, loss, slope, pull }) =>
    `${name} = ${number(loss(d), 2)}, slope ${number(slope(d), 1)}, pull on the logit ${number(pull(d), 3)}`);
  return `D = ${number(d, 3)}, ratio of the pulls ${number((1 - d) / d, 2)}\n${told.join("\n")}`;
}

figure.prepend(chart.root);
const set = control(figure, "D", { min: LEAST, max: MOST, step: .005, value: .1 }, show);
chart.drag(d => set(Math.min(Math.max(d, LEAST), MOST)));
