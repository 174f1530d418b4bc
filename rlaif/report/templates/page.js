"use strict";
// Scripts of every page: remember the chosen colours, and sort tables of numbers.
(() => {
  const chosen = () => { try { return localStorage.getItem("rlaif-theme"); } catch { return null; } };
  for (const input of document.querySelectorAll('input[name="theme"]')) {
    input.checked = input.value === (chosen() ?? "auto");
    input.addEventListener("change", () => { try { localStorage.setItem("rlaif-theme", input.value); } catch { /* a page from the disk may have no storage */ } });
  }

  const sortBy = (table, head) => {
    const place = [...head.parentNode.children].indexOf(head);
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const isNumeric = head.classList.contains("number");
    const key = (row) => {
      const cell = row.children[place];
      return isNumeric ? (cell.dataset.value === undefined ? null : Number(cell.dataset.value)) : cell.textContent;
    };
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // unknown values come last in both orders
      const order = isNumeric ? a - b : a.localeCompare(b);
      return rising ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    for (const head of table.tHead.rows[0].cells) {
      head.querySelector("button").addEventListener("click", () => sortBy(table, head));
    }
  }
})();
