// Of several pictures, each in a figure with a caption, show the one that a slider chooses.
import { control } from "./plot.js";

for (const figure of document.querySelectorAll("figure.knob-between")) {
  const stills = [...figure.querySelectorAll("figure")];
  figure.classList.add("knob-live");
  control(figure, figure.dataset.label, { min: 0, max: stills.length - 1, step: 1, value: 0 }, chosen => {
    stills.forEach((still, k) => { still.hidden = k !== chosen; });
    return stills[chosen].querySelector("figcaption").textContent;
  });
}
