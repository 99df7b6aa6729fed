// What htmx leaves to the page: keep <details> open over a refresh, tell when one failed, submit a form once.
(() => {
  "use strict";
  const DATA = "venue-images-data";
  const UPDATED = "venue-images-updated";
  const FAILED = " · refresh failed, trying again";
  let open = [];

  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.target.id !== DATA) return;
    // A proxy may answer with a page of its own: the figures that are there are better than that.
    if (detail.shouldSwap && !detail.serverResponse.includes(`id="${UPDATED}"`)) {
      detail.shouldSwap = false;
      detail.isError = true;
    }
    open = [...detail.target.querySelectorAll("details[open][id]")].map((details) => details.id);
  });

  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    if (detail.target.id !== DATA) return;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  });

  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const updated = document.getElementById(UPDATED);
    if (detail.target.id !== DATA || detail.successful || updated.querySelector("strong")) return;
    updated.append(Object.assign(document.createElement("strong"), { textContent: FAILED }));
  });

  const forms = () => document.querySelectorAll("form[data-venue-images-once]");

  document.addEventListener("submit", ({ target }) => {
    if (!target.matches("form[data-venue-images-once]")) return;
    // After the browser has collected the form.
    setTimeout(() => target.querySelectorAll("button").forEach((button) => (button.disabled = true)));
  });

  // Back from another page, as it was left.
  window.addEventListener("pageshow", () => {
    forms().forEach((form) => form.querySelectorAll("button").forEach((button) => (button.disabled = false)));
  });
})();
