"use strict";
// Shows only the runs of one verdict; without this all are shown.
const buttons = [...document.querySelectorAll(".chips button")];
for (const button of buttons) {
  button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    for (const row of document.querySelectorAll("tr[data-verdict]")) {
      row.hidden = Boolean(button.dataset.verdict) && row.dataset.verdict !== button.dataset.verdict;
    }
  });
}
