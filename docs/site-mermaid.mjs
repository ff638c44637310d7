// Draws the diagrams of a page with the copy of Mermaid that lies beside it (docs/site_hooks.py).
import * as bundle from "./mermaid/index.js";

const mermaid = bundle.mermaid ?? bundle.default;
const dark = document.body.dataset.mdColorScheme === "slate";
mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "neutral" });
for (const block of document.querySelectorAll("pre.diagram")) {
  block.textContent = block.textContent; // the code's own element would be taken for its text
}
await mermaid.run({ querySelector: "pre.diagram" });
