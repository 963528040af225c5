// How long ago times were. The server's clock counts, so that a wrong one here changes nothing.

const STEPS = [[86400, "d"], [3600, "h"], [60, "min"]];

let ahead = 0;

export function setClock(serverSeconds) {
  ahead = serverSeconds - Date.now() / 1000;
}

export function now() {
  return Date.now() / 1000 + ahead;
}

export function span(seconds) {
  const size = Math.abs(seconds);
  for (const [length, unit] of STEPS) {
    if (size >= length) return `${Math.floor(size / length)} ${unit}`;
  }
  return `${Math.floor(size)} s`;
}

// In tables, where columns are narrow; the moment itself is in the title then.
export function relate(root) {
  for (const time of root.querySelectorAll("table[data-table] time")) {
    const ago = now() - Date.parse(time.dateTime) / 1000;
    if (!Number.isFinite(ago)) continue;
    if (!time.title) time.title = time.textContent;
    const said = ago >= 0 ? `${span(ago)} ago` : `in ${span(ago)}`;
    if (time.textContent !== said) time.textContent = said;
  }
}
