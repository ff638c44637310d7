// What a page does by itself: keys, dark or light, and a focus that outlives what is drawn anew.
//
// An element says its key itself (aria-keyshortcuts); "?" lists all that the page has, so that the
// list cannot differ from what the keys do.
(() => {
  "use strict";
  const EVERYWHERE = [
    ["j, k", "next and previous row"], ["Enter", "open it; in a dialog: do it"],
    ["Esc", "close what is open"],
  ];

  const shown = (el) => el.getClientRects().length > 0;
  const able = (el) => !el.disabled && el.getAttribute("aria-disabled") !== "true";
  const writes = (el) =>
    el.isContentEditable || (el.matches("input, textarea, select") && el.type !== "checkbox");
  const leaves = (dialog) => dialog.querySelector('[class*="leave-active"]') !== null;
  const top = () =>
    [...document.querySelectorAll(".q-dialog")].filter((one) => shown(one) && !leaves(one)).pop();
  const keyed = () =>
    [...(top() || document).querySelectorAll("[aria-keyshortcuts]")].filter(shown);

  function does(el) {
    if (el.ariaLabel) return el.ariaLabel;
    const copy = el.cloneNode(true);
    copy.querySelectorAll("kbd, i").forEach((part) => part.remove());
    return copy.textContent.trim();
  }

  function help() {
    const before = document.getElementById("keys");
    if (before) { before.remove(); return; }
    const box = document.createElement("dialog");
    box.id = "keys";
    box.setAttribute("aria-label", "Keys of this page");
    const title = box.appendChild(document.createElement("h2"));
    title.textContent = "Keys of this page";
    const table = box.appendChild(document.createElement("table"));
    const own = keyed().map((el) => [el.getAttribute("aria-keyshortcuts"), does(el)]);
    for (const [key, what] of [...own, ...EVERYWHERE]) {
      const row = table.insertRow();
      row.insertCell().appendChild(document.createElement("kbd")).textContent = key;
      row.insertCell().textContent = what;
    }
    box.addEventListener("close", () => box.remove());
    box.addEventListener("click", () => box.close());
    document.body.appendChild(box).showModal();
  }

  function move(by) {
    const rows = [...document.querySelectorAll("main tbody tr")]
      .map((row) => row.querySelector("a")).filter((link) => link && shown(link));
    if (!rows.length) return false;
    const at = rows.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
    rows[Math.max(0, Math.min(rows.length - 1, next))].focus();
    return true;
  }

  function press(key) {
    if (key === "j" || key === "k") return !top() && move(key === "j" ? 1 : -1);
    const found = keyed().find((el) => el.getAttribute("aria-keyshortcuts") === key && able(el));
    if (!found) return false;
    if (writes(found)) found.focus(); else found.click();
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && event.key.length > 1) return;
    const left = event.target.closest(".q-dialog");
    if (writes(event.target) && !(left && leaves(left))) return;
    if (document.querySelector("#keys[open]")) return;
    if (press(event.key)) event.preventDefault();
  });

  // Rows are drawn anew when something has changed: the focus stays on what has the same address.
  let kept = null;
  document.addEventListener("focusin", (event) => {
    const link = event.target.closest("main a[href]");
    kept = link && { link, href: link.getAttribute("href") };
  });
  document.addEventListener("pointerdown", () => { kept = null; });
  // On a phone rows are cards, whose values say of what they are.
  const narrow = matchMedia("(max-width: 700px)");
  function nameCells() {
    if (!narrow.matches) return;
    for (const table of document.querySelectorAll("main table:has(thead)")) {
      const names = [...table.tHead.rows[0].cells].map((each) => each.textContent.trim());
      for (const row of table.tBodies[0].rows)
        for (const [at, each] of [...row.cells].entries())
          if (!each.dataset.of) each.dataset.of = names[at] || " ";
    }
  }
  narrow.addEventListener("change", nameCells);

  new MutationObserver(() => {
    drawViews();
    nameCells();
    if (!kept || kept.link.isConnected || document.activeElement !== document.body) return;
    const again = document.querySelector(`main a[href="${CSS.escape(kept.href)}"]`);
    if (again) again.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });

  function dark() {
    const now = !document.body.classList.contains("body--dark");
    document.cookie = `orchestrator_dark=${now ? "yes" : "no"}; path=/; max-age=31536000; samesite=strict`;
    location.reload();
  }

  // Views: filters under a name, of this browser alone.
  const VIEWS = "orchestrator_views";
  function views() {
    try { return JSON.parse(localStorage.getItem(VIEWS)) || {}; } catch { return {}; }
  }
  function keepView(name, address) {
    const all = views();
    if (address === null) delete all[name]; else all[name] = address;
    localStorage.setItem(VIEWS, JSON.stringify(all));
    drawViews(true);
  }
  function drawViews(anew = false) {
    const box = document.getElementById("views");
    if (!box || box.dataset.drawn && !anew) return;
    box.dataset.drawn = "yes";
    const here = location.pathname + location.search;
    box.replaceChildren(...Object.entries(views()).map(([name, address]) => {
      const view = document.createElement("span");
      const link = view.appendChild(document.createElement("a"));
      link.className = "nicegui-link";
      link.href = address;
      link.textContent = name;
      if (address === here) link.setAttribute("aria-current", "true");
      const forget = view.appendChild(document.createElement("button"));
      forget.textContent = "×";
      forget.className = "q-ml-xs";
      forget.setAttribute("aria-label", `Forget the view ${name}`);
      forget.addEventListener("click", () => keepView(name, null));
      return view;
    }));
  }

  window.consolePage = { help, dark, keepView };
})();
