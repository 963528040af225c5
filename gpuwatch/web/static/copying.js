// A button at each line to paste.

import { element, tell } from "./dom.js";

export function copies(root) {
  if (!navigator.clipboard) return; // only where the page came over TLS, or from this machine
  for (const line of root.querySelectorAll("pre[data-copy]")) {
    if (line.querySelector("button")) continue;
    const button = element("button", { type: "button", class: "copy", click: () => copy(line, button) }, "Copy");
    line.append(button);
  }
}

async function copy(line, button) {
  await navigator.clipboard.writeText(line.querySelector("code").textContent);
  button.textContent = "Copied";
  tell("Copied");
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}
