"use strict";
// Without this script the page is whole: numbers link to their trials below. With it tables can be sorted and filtered,
// a number opens its trials in a window of its own, and each value that is drawn can be pointed at and walked to.

const byId = (id) => document.getElementById(id);
const root = document.documentElement;

// What a cell is sorted by; null where it holds no number.
function sortKey(cell, header) {
  if (header.dataset.sort === "text") return cell.textContent.trim().toLowerCase();
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text === "" || Number.isNaN(Number(text)) ? null : Number(text);
}

// Rows in the order of a column: what has no number stays below.
function sortRows(table, index, order) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header) => header.removeAttribute("aria-sort"));
  let sorted = table.rowsAsMade;
  if (order !== "none") {
    headers[index].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const keyed = sorted.map((row) => [sortKey(row.cells[index], headers[index]), row]);
    const known = keyed.filter(([key]) => key !== null);
    known.sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0));
    sorted = [...known, ...keyed.filter(([key]) => key === null)].map(([, row]) => row);
  }
  table.tBodies[0].append(...sorted);
}

// The first press shows the best first, the second the worst, the third the order that the page came in.
function makeSortable(table) {
  table.rowsAsMade = [...table.tBodies[0].rows];
  [...table.tHead.rows[0].cells].forEach((header, index) => {
    const words = header.querySelector(".sorts");
    const button = document.createElement("button");
    button.type = "button";
    words.replaceWith(button);
    button.append(words);
    const orders = header.dataset.best === "low" ? ["ascending", "descending"] : ["descending", "ascending"];
    button.addEventListener("click", () => {
      const at = orders.indexOf(header.getAttribute("aria-sort"));
      sortRows(table, index, orders[at + 1] || "none");
    });
  });
}

// Filters of the comparison

const comparison = byId("comparison");
const rows = [...comparison.tBodies[0].rows];
const headers = [...comparison.tHead.rows[0].cells];

function filterRows(text) {
  rows.forEach((row) => { row.hidden = !row.cells[0].textContent.toLowerCase().includes(text); });
}

function filterColumns(text) {
  headers.forEach((header, index) => {
    const hidden = index > 0 && !header.querySelector(".sorts").textContent.toLowerCase().includes(text);
    [header, ...rows.map((row) => row.cells[index])].forEach((cell) => { cell.hidden = hidden; });
  });
}

function makeFilter(id, filter) {
  const input = byId(id);
  input.addEventListener("input", () => {
    filter(input.value.trim().toLowerCase());
    const shownRows = rows.filter((row) => !row.hidden).length;
    const shownColumns = headers.filter((header) => !header.hidden).length - 1;
    byId("shown").textContent =
      `${shownRows} of ${rows.length} rows, ${shownColumns} of ${headers.length - 1} columns`;
  });
  input.dispatchEvent(new Event("input"));
}

// Commands can be copied

function makeCopied(part) {
  part.querySelectorAll("code.command:not(:has(+ .copy))").forEach((code) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    code.after(button);
  });
}

async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
  } catch { // a browser that does not let a page copy: the text is selected for the user to do it
    getSelection().selectAllChildren(code);
    button.textContent = "selected";
  }
}

// The window of a cell: its trials, the drawings of its recipe and every field of that recipe, copied from below.
function openCell(id) {
  const source = byId(id);
  if (!source || !source.matches("details.cell")) return false;
  const dialog = byId("cell");
  const content = [...source.children].slice(1).map((child) => child.cloneNode(true));
  content.flatMap((part) => [...part.querySelectorAll('a[href^="#e"]')]).forEach((link) => {
    link.replaceWith(byId(link.hash.slice(1)).textContent);
  });
  document.querySelectorAll(`main figure.chart[data-recipe="${source.dataset.recipe}"]`)
    .forEach((chart) => content.push(chart.cloneNode(true)));
  const recipe = byId(`r${source.dataset.recipe}`);
  if (recipe) {
    const part = recipe.cloneNode(true);
    part.removeAttribute("id");
    content.push(part);
  }
  byId("cell-title").textContent = source.firstElementChild.textContent;
  byId("cell-body").replaceChildren(...content);
  makeCopied(byId("cell-body"));
  if (!dialog.open) dialog.showModal();
  byId("cell-body").scrollTop = 0;
  return true;
}

function openRecipe(id) {
  const recipe = byId(id);
  if (recipe && recipe.matches("details.recipe")) recipe.open = true;
}

// Light and dark: as the system says, until the button says otherwise.

function setTheme(theme) {
  root.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "light" : "dark";
}

setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
byId("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
document.querySelector(".tools").hidden = false;

document.querySelectorAll("table.sortable").forEach(makeSortable);
makeFilter("filter-rows", filterRows);
makeFilter("filter-columns", filterColumns);
document.querySelector("form.controls").hidden = false;
document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("toggle", (event) => { if (event.target.open) makeCopied(event.target); }, true);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (event.target.matches(".copy")) copy(event.target);
  else if (event.target.id === "cell" || (link && link.closest("dialog"))) byId("cell").close();
  else if (link && link.matches(".open") && openCell(link.hash.slice(1))) event.preventDefault();
  else if (link) openRecipe(link.hash.slice(1));
});
