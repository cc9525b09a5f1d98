// A page that `twinbench report --serve` gave out: it loads itself anew when there are new results, and comes back as
// it was left. While a cell's window is open, or nobody looks, it waits.

const LIVE = root.dataset.live;
const KEPT = "twinbench-page";

function sortedTables() {
  return [...document.querySelectorAll("table.sortable")].flatMap((table, number) => {
    const index = [...table.tHead.rows[0].cells].findIndex((header) => header.hasAttribute("aria-sort"));
    return index < 0 ? [] : [[number, index, table.tHead.rows[0].cells[index].getAttribute("aria-sort")]];
  });
}

// What a fold is about: its words up to the numbers, as these and the places of rows may change.
function subject(fold) {
  return fold.firstElementChild.textContent.replace(/:[^:]*$/, "");
}

function keep() {
  sessionStorage.setItem(KEPT, JSON.stringify({
    theme: root.dataset.theme,
    filters: [byId("filter-rows").value, byId("filter-columns").value],
    sorted: sortedTables(),
    open: [...document.querySelectorAll("main details[open]")].map(subject),
    aside: comparison.parentNode.scrollLeft,
    down: scrollY,
  }));
}

function comeBack() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT));
  sessionStorage.removeItem(KEPT);
  if (!kept) return;
  setTheme(kept.theme);
  ["filter-rows", "filter-columns"].forEach((id, index) => {
    byId(id).value = kept.filters[index];
    byId(id).dispatchEvent(new Event("input"));
  });
  const tables = [...document.querySelectorAll("table.sortable")];
  kept.sorted.forEach(([number, index, order]) => {
    if (tables[number] && tables[number].tHead.rows[0].cells[index]) sortRows(tables[number], index, order);
  });
  document.querySelectorAll("main details").forEach((fold) => { fold.open = kept.open.includes(subject(fold)); });
  comparison.parentNode.scrollLeft = kept.aside;
  scrollTo(0, kept.down);
}

async function look() {
  if (document.hidden || byId("cell").open) return;
  let edition = LIVE;
  try {
    edition = await (await fetch("edition")).text();
    byId("live").textContent = "live";
  } catch { // the server was stopped, or is busy: the page stands, and says so
    byId("live").textContent = "no longer live";
  }
  if (edition === LIVE) return;
  keep();
  location.reload();
}

if (LIVE) {
  comeBack();
  setInterval(look, 3000);
}
