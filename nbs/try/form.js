// The page's HTML. All controls are buttons, fields and sliders, in the order in which you use them.
const SAMPLES = { coffee: "Coffee", motorcycle: "Motorcycle", astronaut: "Astronaut", rocket: "Rocket" };
const METHODS = {
  photo: ["Photo", "for cameras and JPEG"],
  srgan: ["SRGAN", "sharp, for clean pictures"],
  srresnet: ["SRResNet", "faithful, and smooth"],
  bicubic: ["bicubic", "no network"],
};
const MOUSE = `<span class="try-mouse">, drop it here, or paste it (Ctrl or ⌘ and V)</span>`;
const PROGRESS = `<progress max="1" value="0" aria-label="Progress"></progress> <span aria-hidden="true"></span>`;
const ZOOMS = [["fit", "Fit"], ["1", "100 %"], ["2", "200 %"], ["4", "400 %"]];

const each = (things, show) => Object.entries(things).map(show).join("");

export const title = method => METHODS[method][0];

const sampleButton = (name, title, here) =>
  `<button type="button" data-sample="${name}">` +
  `<img src="${here(`samples/${name}.png`)}" alt="" width="56" height="42">${title}</button>`;

const methodField = (name, title, what) =>
  `<label><input type="radio" name="method" value="${name}"${name === "photo" ? " checked" : ""}> ` +
  `${title} <small>${what}</small></label>`;

const zoomButton = (level, title) =>
  `<button type="button" data-zoom="${level}" aria-pressed="${level === "fit"}">${title}</button>`;

export const form = here => `
<label class="try-drop">
  <input type="file" accept="image/*">
  <span><strong>Choose a picture</strong>${MOUSE}</span>
  <small>It stays on this machine.</small>
</label>
<div class="try-samples" role="group" aria-label="Samples">
  <span>Or take one of ours:</span>
  ${each(SAMPLES, ([name, title]) => sampleButton(name, title, here))}
</div>
<p class="try-complaint" role="alert"></p>
<form class="try-settings" hidden>
  <figure class="try-chosen"></figure>
  <div>
    <fieldset><legend>Method</legend>
      ${each(METHODS, ([name, [title, what]]) => methodField(name, title, what))}
    </fieldset>
    <label class="try-size">Size to begin with <select></select></label>
    <p class="try-advice"></p>
    <button type="submit" class="try-go">Enlarge four times</button>
    <button type="button" class="try-cancel" hidden>Cancel</button>
  </div>
</form>
<div class="try-progress" hidden>${PROGRESS}</div>
<p class="try-status" role="status"></p>
<div class="try-result" hidden>
  <div class="try-tools">
    <div role="group" aria-label="Zoom">${ZOOMS.map(([level, title]) => zoomButton(level, title)).join("")}</div>
    <button type="button" class="try-save" disabled>Download as PNG</button>
  </div>
  <div class="try-view"><img-comparison-slider tabindex="0" role="group" value="50">
    <figure slot="first"><canvas role="img"></canvas><figcaption></figcaption></figure>
    <figure slot="second"><canvas role="img"></canvas><figcaption></figcaption></figure>
  </img-comparison-slider></div>
  <p class="try-hint">Drag the line, or give it the focus and press the arrow keys.</p>
</div>
<p class="try-backend"></p>`;
