"use strict";
// Everything can be read without this: it brings the filter, the buttons that copy, and opens what
// a link points to.
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("filter");
  const find = byId("find");
  const rules = [...document.querySelectorAll(".rule")].map((element) => ({
    element,
    statuses: element.dataset.status.split(" "),
    text: element.textContent.toLowerCase(),
  }));
  const groups = [...document.querySelectorAll(".group")];
  form.hidden = false;

  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = form.elements.status.value;
    let shown = 0;
    for (const rule of rules) {
      const matches =
        (!status || rule.statuses.includes(status)) &&
        words.every((word) => rule.text.includes(word));
      rule.element.hidden = !matches;
      shown += matches;
    }
    for (const group of groups) {
      group.hidden = !group.querySelector(".rule:not([hidden])");
    }
    byId("nothing").hidden = shown > 0;
    byId("count").textContent =
      shown === rules.length ? `${shown} rules` : `${shown} of ${rules.length} rules`;
  };

  const openAll = (open) => {
    for (const { element } of rules) {
      if (!element.hidden) element.open = open;
    }
  };

  // A link to a rule shows it, opened, whatever the filter hides.
  const follow = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.closest("#rules")) return;
    if (target.hidden || target.closest("[hidden]")) {
      form.reset();
      filter();
    }
    if (target.matches(".rule")) target.open = true;
    target.scrollIntoView();
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("open").addEventListener("click", () => openAll(true));
  byId("close").addEventListener("click", () => openAll(false));
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey &&
        !event.target.closest("input")) {
      event.preventDefault();
      find.focus();
    }
  });

  const copy = async (code, button) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  for (const command of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", () => copy(command.querySelector("code"), button));
    command.append(button);
  }

  filter();
  follow();
})();
