// What is wrong with this page, once its formulas are typeset. The last argument is called with it.
const done = arguments[arguments.length - 1];

const rgba = (color) => {
  const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
  return { channels: [red, green, blue], alpha };
};

// The relative luminance of WCAG 2.
const luminance = ({ channels }) => {
  const linear = channels.map((c) => {
    const share = c / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};

const background = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = rgba(getComputedStyle(e).backgroundColor);
    if (color.alpha === 1) return color;
  }
  return rgba("rgb(255, 255, 255)");
};

const contrast = (element) => {
  const [low, high] = [rgba(getComputedStyle(element).color), background(element)]
    .map(luminance)
    .sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};

const visible = (element) => element.getClientRects().length > 0;

const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);

const scroller = (element) => {
  let outer = element.parentElement;
  while (outer && !scrolls(outer)) outer = outer.parentElement;
  return outer ?? document.documentElement;
};

const HIDDEN = "script, style, template, svg, mjx-container";
const texts = () => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    if (node.data.trim() && !parent.closest(HIDDEN) && visible(parent)) nodes.push(node);
  }
  return nodes;
};

const look = async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  const root = document.documentElement;
  const formulas = [...document.querySelectorAll("mjx-container")].filter(visible);
  const name = (element) =>
    (element.closest("mjx-container") ?? element).textContent.trim().slice(0, 60);
  const found = {
    scrolling: [root, ...[...document.querySelectorAll("body *")].filter(scrolls)]
      .filter((e) => e.scrollWidth > e.clientWidth + 1 && !e.matches("pre, .table-wrapper"))
      .map((e) => `${e.tagName} ${e.className} ${e.scrollWidth}`),
    raw: texts()
      .filter((node) => !node.parentElement.closest("code, pre"))
      .map((node) => node.data.trim())
      .filter((text) => /\\[()[\]]|\$\$|\\begin\{|\w\^[\w(]/.test(text)),
    // An unknown command becomes red text.
    errors: [
      ...document.querySelectorAll(
        "mjx-merror, mjx-mtext[style*=red], .math:not(:has(mjx-container))",
      ),
    ].map(name),
    cut: formulas
      .filter((formula) => {
        const box = (formula.querySelector("mjx-math, svg") ?? formula).getBoundingClientRect();
        const outer = scroller(formula);
        const shown = outer.getBoundingClientRect();
        const wide = box.left < shown.left - 0.5 || box.right > shown.right + 0.5;
        // A wide table scrolls.
        const low = outer.matches(".math") && box.bottom > shown.bottom + 0.5;
        return (wide && !outer.matches(".table-wrapper")) || low;
      })
      .map(name),
    // A line could begin with the punctuation after these.
    loose: [...document.querySelectorAll("span.math")]
      .filter((formula) => /^[.,;:?!)]/.test(formula.nextSibling?.data ?? ""))
      .filter((formula) => getComputedStyle(formula.parentElement).whiteSpace !== "nowrap")
      .map(name),
    unnamed: [...document.querySelectorAll("article img")]
      .filter((image) => !image.alt.trim() || image.alt.includes("_images/"))
      .map((image) => image.src),
  };
  document.body.dataset.theme = "dark";
  await new Promise((resolve) => setTimeout(resolve, 0));
  found.dim = [
    ...formulas.filter((formula) => contrast(formula) < 4.5).map(name),
    ...texts()
      .filter((node) => contrast(node.parentElement) < 4.5)
      .map((node) => node.data.trim().slice(0, 60)),
  ];
  return found;
};

look().then(done, (error) => done({ errors: [String(error)] }));
