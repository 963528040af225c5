// A part that took longer than its view may is taken from the view that has it by itself.

import { load } from "./loading.js";

export async function fetchLater(root, enhance) {
  for (const word of root.querySelectorAll("[data-later]")) {
    const key = word.dataset.later;
    const link = word.querySelector("a");
    try {
      const { page } = await load(link.href, { whole: true });
      const found = page.querySelector(`section[aria-labelledby="${CSS.escape(key)}"]`);
      if (!found || !word.isConnected) continue;
      const part = document.importNode(found, true);
      word.replaceWith(part);
      enhance(part);
    } catch {
      // The link is there for whoever wants it.
    }
  }
}
