// An interactive picture of AdaGrad on the textbook's bowl. It computes every step here, in doubles
// and in the order of `adagrad.step`. A custom element has its own scope, so that a page may have
// several, and a notebook may insert one at any time.
if (!customElements.get("adagrad-playground")) {
  const CURVATURES = [0.2, 4]; // f(x) = 0.1 x1^2 + 2 x2^2
  const START = [-5, -2];
  const EPS = 1e-6;
  const STEPS = 20;
  const PAUSE = 350; // milliseconds between two steps
  const UNIT = 20; // pixels of the picture
  const FAR = 1000; // paths end behind it: SVG cannot draw to 1e30

  function bowl(degrees) {
    const angle = (degrees * Math.PI) / 180;
    const c = Math.cos(angle);
    const s = Math.sin(angle);
    const [low, high] = CURVATURES;
    const q11 = low * c * c + high * s * s;
    const q12 = (low - high) * c * s;
    const q22 = low * s * s + high * c * c;
    const gradient = ([x1, x2]) => [q11 * x1 + q12 * x2, q12 * x1 + q22 * x2];
    return {
      start: [c * START[0] - s * START[1], s * START[0] + c * START[1]],
      gradient,
      value(x) {
        const g = gradient(x);
        return (x[0] * g[0] + x[1] * g[1]) / 2;
      },
    };
  }

  const RULES = {
    adagrad(lr, x, g, s) {
      for (const i of [0, 1]) {
        s[i] += g[i] * g[i];
        x[i] -= (lr * g[i]) / Math.sqrt(s[i] + EPS);
      }
    },
    descent(lr, x, g) {
      for (const i of [0, 1]) x[i] -= lr * g[i];
    },
  };

  function trace(rule, lr, f) {
    const x = [...f.start];
    const s = [0, 0];
    const path = [];
    for (let t = 0; t <= STEPS; t++) {
      if (t) rule(lr, x, f.gradient(x), s);
      path.push({ x1: x[0], x2: x[1], s1: s[0], s2: s[1], f: f.value(x) });
    }
    return path;
  }

  function shown(value) {
    if (value === 0 || !Number.isFinite(value)) return String(value);
    const size = Math.abs(value);
    const text = size < 1e-3 || size >= 1e5 ? value.toExponential(3) : value.toPrecision(5);
    return text.replace("-", "−").replace("e-", "e−").replace("e+", "e");
  }

  // Twenty rates a decade with two digits: 0.01, 0.011, 0.013, ..., 0.4, ..., 2, ..., 10.
  const rate = (position) => Number((10 ** (position / 20)).toPrecision(2));

  // Ellipses at equal distances; the fifth is that of the start.
  const contours = [1, 2, 3, 4, 5, 6, 7, 8]
    .map((k) => (k / 5) * UNIT)
    .map((scale) => {
      const top = CURVATURES[0] * START[0] ** 2 + CURVATURES[1] * START[1] ** 2;
      const [rx, ry] = CURVATURES.map((curvature) => scale * Math.sqrt(top / curvature));
      return `<ellipse rx="${rx.toFixed(2)}" ry="${ry.toFixed(2)}"/>`;
    })
    .join("");

  const row = (name) => {
    const [letter, digit = ""] = name;
    return `<tr><th scope="row"><i>${letter}</i><sub>${digit}</sub></th>
      <td><data class="adagrad ${name}"></data></td>
      <td class="second"><data class="descent ${name}"></data></td></tr>`;
  };

  const TEMPLATE = `
    <style>
      :host { display: block; margin: 1rem 0; max-width: 48rem; line-height: 1.4; }
      [hidden] { display: none !important; }
      .sides {
        display: grid; gap: 1rem 1.5rem; align-items: start;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr));
      }
      svg { display: block; width: 100%; max-width: 26rem; height: auto; }
      svg text { fill: currentColor; font: 12px sans-serif; }
      .frame, .axes, .contours { fill: none; stroke: currentColor; vector-effect: non-scaling-stroke; }
      .frame { stroke-opacity: 0.35; }
      .axes { stroke-opacity: 0.5; stroke-width: 0.75; }
      .contours { stroke-opacity: 0.4; stroke-width: 0.75; }
      path.adagrad, path.descent { fill: none; stroke-width: 1.75; }
      path.adagrad { stroke: #0072b2; stroke-linecap: round; }
      path.descent { stroke: #d55e00; stroke-linecap: square; }
      path.descent.line { stroke-dasharray: 6 5; stroke-linecap: butt; }
      path.dots { stroke-width: 6; }
      path.now { stroke-width: 12; }
      .slider { position: relative; margin-bottom: 0.6rem; }
      .slider span { position: absolute; top: 0; right: 0; font-variant-numeric: tabular-nums; }
      .slider input { display: block; width: 100%; margin: 0.25rem 0; accent-color: #0072b2; }
      .buttons { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; }
      button {
        font: inherit; color: inherit; background: transparent; cursor: pointer;
        border: 1px solid currentColor; border-radius: 4px; padding: 0.2rem 0.8rem;
        min-width: 6em;
      }
      table { border-collapse: collapse; margin-top: 0.75rem; font-variant-numeric: tabular-nums; }
      caption { text-align: left; font-weight: bold; }
      th, td { padding: 0.1rem 0 0.1rem 0.9rem; text-align: right; font-weight: normal; }
      th:first-child { padding-left: 0; text-align: left; }
      td { min-width: 5.5rem; }
      thead th:not(:first-child) { border-bottom: 3px solid #0072b2; }
      thead th.second { border-bottom: 3px dashed #d55e00; }
      p { margin: 0.5rem 0 0; }
    </style>
    <div class="sides">
      <svg viewBox="-170 -170 340 340" role="img">
        <g class="contours">${contours}</g>
        <path class="axes" d="M-170 0H170M0-170V170M-100-3V3M100-3V3M-3-100H3M-3 100H3"/>
        <rect class="frame" x="-169.5" y="-169.5" width="339" height="339"/>
        <text x="-109" y="16">−5</text><text x="97" y="16">5</text><text x="152" y="-6">x₁</text>
        <text x="6" y="104">−5</text><text x="6" y="-96">5</text><text x="6" y="-156">x₂</text>
        <text class="start" text-anchor="middle">start</text>
        <g class="second">
          <path class="descent line"/><path class="descent dots"/><path class="descent now"/>
        </g>
        <path class="adagrad line"/><path class="adagrad dots"/><path class="adagrad now"/>
      </svg>
      <div>
        <div class="slider">
          <label>Learning rate <input name="rate" type="range" min="-40" max="20" value="-8"></label>
          <span aria-hidden="true"></span>
        </div>
        <div class="slider">
          <label>Angle of the bowl <input name="angle" type="range" min="0" max="90" value="0"></label>
          <span aria-hidden="true"></span>
        </div>
        <div class="slider">
          <label>Step <input name="step" type="range" min="0" max="${STEPS}" value="${STEPS}"></label>
          <span aria-hidden="true"></span>
        </div>
        <div class="buttons">
          <button type="button"></button>
          <label><input name="second" type="checkbox"> gradient descent too</label>
        </div>
        <table>
          <caption></caption>
          <thead><tr>
            <th></th><th scope="col">AdaGrad</th><th scope="col" class="second">gradient descent</th>
          </tr></thead>
          <tbody>${["x1", "x2", "s1", "s2", "f"].map(row).join("")}</tbody>
        </table>
        <p class="second">Gradient descent diverges above the rate 2/4&nbsp;=&nbsp;0.5.</p>
      </div>
    </div>`;

  const point = ({ x1, x2 }) => `${(UNIT * x1).toFixed(2)} ${(-UNIT * x2).toFixed(2)}`;

  class Playground extends HTMLElement {
    connectedCallback() {
      if (this.shadowRoot) return; // it was only moved
      this.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab takes the arrow keys
      this.attachShadow({ mode: "open" }).innerHTML = TEMPLATE;
      this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.inputs = {};
      for (const input of this.all("input")) {
        this.inputs[input.name] = input;
        input.addEventListener("input", () => {
          this.stop();
          this.draw();
        });
      }
      this.button = this.one("button");
      this.button.addEventListener("click", () => (this.timer ? this.stop() : this.play()));
      this.stop();
      this.draw();
    }

    disconnectedCallback() {
      this.stop();
    }

    one(selector) {
      return this.shadowRoot.querySelector(selector);
    }

    all(selector) {
      return this.shadowRoot.querySelectorAll(selector);
    }

    play() {
      const { step } = this.inputs;
      if (Number(step.value) === STEPS) step.value = 0;
      else step.value = Number(step.value) + 1;
      this.draw();
      if (this.calm) return;
      this.button.textContent = "Pause";
      this.timer = setInterval(() => {
        step.value = Number(step.value) + 1;
        this.draw();
        if (Number(step.value) === STEPS) this.stop();
      }, PAUSE);
    }

    stop() {
      clearInterval(this.timer);
      this.timer = 0;
      this.button.textContent = this.calm ? "Next step" : "Play";
    }

    draw() {
      const lr = rate(Number(this.inputs.rate.value));
      const degrees = Number(this.inputs.angle.value);
      const step = Number(this.inputs.step.value);
      const f = bowl(degrees);
      this.one(".contours").setAttribute("transform", `rotate(${-degrees})`);
      this.one(".start").setAttribute("x", UNIT * f.start[0]);
      this.one(".start").setAttribute("y", 18 - UNIT * f.start[1]);
      for (const [name, rule] of Object.entries(RULES)) {
        this.drawPath(name, trace(rule, lr, f).slice(0, step + 1));
      }
      for (const part of this.all(".second")) part.toggleAttribute("hidden", !this.inputs.second.checked);
      const value = this.one(".adagrad.f").textContent;
      this.say("rate", String(lr));
      this.say("angle", `${degrees}°`);
      this.say("step", `${step} of ${STEPS}`);
      this.inputs.step.setAttribute("aria-valuetext", `${step} of ${STEPS}, f = ${value}`);
      this.one("caption").textContent = `After ${step} ${step === 1 ? "step" : "steps"}`;
      this.one("svg").setAttribute(
        "aria-label",
        `The path of AdaGrad over the contours of the bowl, rotated by ${degrees} degrees, at the` +
          ` learning rate ${lr}: f = ${value} after ${step} steps.`,
      );
    }

    drawPath(name, path) {
      const end = path.findIndex(({ x1, x2 }) => !(Math.hypot(x1, x2) < FAR));
      const drawn = path.slice(0, end < 0 ? path.length : end + 1);
      this.one(`.${name}.line`).setAttribute("d", `M${drawn.map(point).join("L")}`);
      this.one(`.${name}.dots`).setAttribute("d", drawn.map((x) => `M${point(x)}h0`).join(""));
      this.one(`.${name}.now`).setAttribute("d", `M${point(drawn.at(-1))}h0`);
      for (const [key, value] of Object.entries(path.at(-1))) {
        const cell = this.one(`data.${name}.${key}`);
        cell.value = String(value);
        cell.textContent = name === "descent" && key[0] === "s" ? "" : shown(value);
      }
    }

    say(name, text) {
      const input = this.inputs[name];
      input.setAttribute("aria-valuetext", text);
      input.closest(".slider").querySelector("span").textContent = text;
    }
  }

  customElements.define("adagrad-playground", Playground);
}
