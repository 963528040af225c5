// What makes the page lively. Without any of it the tables are there, links lead on and forms are sent.

import { copies } from "./copying.js";
import { draw } from "./charts.js";
import { fetchLater } from "./later.js";
import { follow } from "./live.js";
import { liven } from "./tables.js";
import { relate } from "./times.js";

// Each of them may be asked again for a main part that has been renewed.
export function enhance(root) {
  liven(root);
  relate(root);
  copies(root);
  draw(root);
  fetchLater(root, enhance);
}

enhance(document);
follow(enhance);
