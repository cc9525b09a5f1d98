"use strict";
// Without this script the page is whole: numbers link to their trials below. With it the table can be sorted and
// filtered, and a number opens its trials in a window of its own.

const table = document.getElementById("comparison");
const body = table.tBodies[0];
const rows = [...body.rows];
const headers = [...table.tHead.rows[0].cells];

function value(row, index) {
  const cell = row.cells[index];
  if (headers[index].dataset.sort === "text") return cell.textContent.trim().toLowerCase();
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

// Rows in the order of a column; what has no number stays below, and a third click restores the first order.
function sortBy(index) {
  const next = { none: "descending", descending: "ascending", ascending: "none" };
  const order = next[headers[index].getAttribute("aria-sort") || "none"];
  headers.forEach((header) => header.removeAttribute("aria-sort"));
  let sorted = rows;
  if (order !== "none") {
    headers[index].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const known = rows.filter((row) => value(row, index) !== null);
    known.sort((a, b) => (value(a, index) < value(b, index) ? -sign : value(a, index) > value(b, index) ? sign : 0));
    sorted = [...known, ...rows.filter((row) => value(row, index) === null)];
  }
  body.append(...sorted);
}

function makeSortable(header, index) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  button.addEventListener("click", () => sortBy(index));
  header.append(button);
}

function filterRows(text) {
  rows.forEach((row) => { row.hidden = !row.cells[0].textContent.toLowerCase().includes(text); });
}

function filterColumns(text) {
  headers.forEach((header, index) => {
    const hidden = index > 0 && !header.textContent.toLowerCase().includes(text);
    [header, ...rows.map((row) => row.cells[index])].forEach((cell) => { cell.hidden = hidden; });
  });
}

function report() {
  const shownRows = rows.filter((row) => !row.hidden).length;
  const shownColumns = headers.filter((header) => !header.hidden).length - 1;
  document.getElementById("shown").textContent =
    `${shownRows} of ${rows.length} rows, ${shownColumns} of ${headers.length - 1} columns`;
}

function makeFilter(id, filter) {
  const input = document.getElementById(id);
  input.addEventListener("input", () => { filter(input.value.trim().toLowerCase()); report(); });
}

// The window of a cell: its trials, the curves of its recipe and every field of that recipe, copied from below.
function openCell(id) {
  const source = document.getElementById(id);
  if (!source || !source.matches("details.cell")) return false;
  const dialog = document.getElementById("cell");
  const content = [...source.children].slice(1).map((child) => child.cloneNode(true));
  content.flatMap((part) => [...part.querySelectorAll('a[href^="#e"]')]).forEach((link) => {
    link.replaceWith(document.getElementById(link.hash.slice(1)).textContent);
  });
  document.querySelectorAll(`figure.chart[data-recipe="${source.dataset.recipe}"]`)
    .forEach((chart) => content.push(chart.cloneNode(true)));
  const recipe = document.getElementById(`r${source.dataset.recipe}`);
  if (recipe) {
    const copy = recipe.cloneNode(true);
    copy.removeAttribute("id");
    content.push(copy);
  }
  document.getElementById("cell-title").textContent = source.firstElementChild.textContent;
  document.getElementById("cell-body").replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
  document.getElementById("cell-body").scrollTop = 0;
  return true;
}

headers.forEach(makeSortable);
makeFilter("filter-rows", filterRows);
makeFilter("filter-columns", filterColumns);
document.querySelector("form.controls").hidden = false;
document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
report();
body.addEventListener("click", (event) => {
  const link = event.target.closest("a.open");
  if (link && openCell(link.hash.slice(1))) event.preventDefault();
});
document.getElementById("cell").addEventListener("click", (event) => {
  if (event.target.id === "cell" || event.target.closest('a[href^="#"]')) document.getElementById("cell").close();
});
if (location.hash) openCell(location.hash.slice(1));
