"use strict";
// Tables sort by a click on a heading, and long ones filter by a text. Without this script they are
// plain tables, complete and in the order of the page.
const FILTERED_FROM = 8;

function numberOf(text) {
  const plain = text.replace(/[,\s]/g, "").replace("\u2212", "-").replace(/%$/, "");
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(plain) ? Number(plain) : null;
}

function keyOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const missing = text === "" || /^[-\u2013\u2014]$/.test(text);
  return { text, missing, number: missing ? null : numberOf(text) };
}

function sortBy(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => ({ row, key: keyOf(row, column) }));
  const known = keyed.filter((one) => !one.key.missing);
  const numeric = known.length > 0 && known.every((one) => one.key.number !== null);
  const now = heading.getAttribute("aria-sort");
  const falling = now ? now === "ascending" : numeric; // the largest number, the first name
  known.sort((a, b) => {
    const order = numeric
      ? a.key.number - b.key.number
      : a.key.text.localeCompare(b.key.text, "en", { numeric: true });
    return falling ? -order : order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...[...known, ...keyed.filter((one) => one.key.missing)].map((one) => one.row));
}

function addSorting(table) {
  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    const rows = Array.from(table.tBodies[0].rows);
    if (rows.some((row) => row.cells.length <= column || row.cells[column].querySelector("svg"))) {
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    heading.append(button);
  });
}

function addFilter(table) {
  const rows = Array.from(table.tBodies[0].rows);
  const label = document.createElement("label");
  const field = document.createElement("input");
  const said = document.createElement("span");
  label.className = "filter";
  field.type = "search";
  said.setAttribute("role", "status");
  label.append("Filter ", field, " ", said);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let left = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      left += row.hidden ? 0 : 1;
    }
    said.textContent = wanted ? `${left} of ${rows.length} rows` : "";
  });
  (table.closest(".scroll") || table).before(label);
}

for (const table of document.querySelectorAll("main table")) {
  const rows = table.tHead && table.tBodies.length === 1 ? table.tBodies[0].rows.length : 0;
  if (rows > 1) addSorting(table);
  if (rows >= FILTERED_FROM) addFilter(table);
}
