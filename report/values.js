// Values of drawings: the points of a line are made when someone comes near.

function makePoints(line, setting) {
  const places = line.getAttribute("points").split(" ");
  line.dataset.values.split("|").forEach((words, index) => {
    const [x, y] = places[index].split(",");
    const point = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const color = [...line.classList].find((name) => /^s\d$/.test(name));
    point.setAttribute("class", `point value ${color}`);
    point.setAttribute("cx", x);
    point.setAttribute("cy", Math.min(Math.max(y, 10), 226)); // outside the frame: at its edge
    point.setAttribute("r", 5);
    point.setAttribute("aria-label", `${line.dataset.label}, ${setting} ${words}`);
    line.parentNode.append(point);
  });
  line.querySelector("title").remove();
}

function prepare(drawing) {
  if (drawing.dataset.prepared) return;
  drawing.dataset.prepared = "yes";
  drawing.querySelectorAll("polyline[data-values]").forEach((line) => makePoints(line, drawing.dataset.x));
  drawing.querySelectorAll('svg[role="img"]').forEach((svg) => svg.setAttribute("role", "group"));
  drawing.querySelectorAll(".value").forEach((value) => {
    const title = value.querySelector("title");
    const words = title ? title.textContent : value.title;
    if (words) value.setAttribute("aria-label", words);
    if (title) title.remove(); // the tip says it, and must not say it twice
    value.removeAttribute("title");
    value.setAttribute("role", "img");
    value.setAttribute("tabindex", "-1");
  });
}

function middle(element) {
  const box = element.getBoundingClientRect();
  return box.left + box.width / 2;
}

function nearest(values, x) {
  return values.reduce((best, value) => (Math.abs(middle(value) - x) < Math.abs(middle(best) - x) ? value : best));
}

// Left and right along a line or a task, up and down between them.
function walk(value, key) {
  const valuesOf = (group) => [...group.querySelectorAll(".value")];
  const groups = [...value.closest(".values").querySelectorAll(".group")].filter((group) => valuesOf(group).length);
  const group = value.closest(".group");
  const along = valuesOf(group);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[key];
  if (key === "Home") return along[0];
  if (key === "End") return along[along.length - 1];
  if (key === "ArrowLeft" || key === "ArrowRight") return along[along.indexOf(value) + step];
  const next = groups[groups.indexOf(group) + step];
  return next && nearest(valuesOf(next), middle(value));
}

function showTip(value) {
  const tip = byId("tip");
  (value.closest("dialog") || document.body).append(tip);
  tip.textContent = value.getAttribute("aria-label");
  tip.hidden = false;
  const at = value.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(middle(value) - width / 2, root.clientWidth - width - 4))}px`;
  tip.style.top = `${at.top > height + 10 ? at.top - height - 6 : at.bottom + 6}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

function drawingOf(event) {
  return event.target.closest ? event.target.closest(".values") : null;
}

document.querySelectorAll(".values").forEach((drawing) => drawing.setAttribute("tabindex", "0"));
document.addEventListener("pointerover", (event) => {
  const drawing = drawingOf(event);
  if (drawing) prepare(drawing);
  const value = drawing && event.target.closest(".value");
  if (value) showTip(value);
  else if (!document.activeElement.matches(".value")) hideTip();
});
document.addEventListener("focusin", (event) => {
  const drawing = drawingOf(event);
  if (!drawing) return;
  prepare(drawing);
  if (event.target.matches(".value")) showTip(event.target);
});
document.addEventListener("focusout", hideTip);
document.addEventListener("scroll", () => {
  if (document.activeElement.matches(".value")) showTip(document.activeElement);
  else hideTip();
}, { capture: true, passive: true });
document.addEventListener("keydown", (event) => {
  const drawing = drawingOf(event);
  if (event.key === "Escape") hideTip();
  if (!drawing || !["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
  event.preventDefault();
  const value = event.target.matches(".value") ? walk(event.target, event.key) : drawing.querySelector(".value");
  if (value) value.focus({ preventScroll: false });
});
if (location.hash && !openCell(location.hash.slice(1))) openRecipe(location.hash.slice(1));
