// Fetches a view as a document that does nothing: no script of it runs, and no text becomes markup here. The server's
// ETag says whether it is another one.

const DEADLINE = 30_000; // more than the server gives all parts of a view in all but the worst case

const seen = new Map();

export function load(address, { whole = false } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.timeout = DEADLINE;
    const known = seen.get(address);
    if (known && !whole) request.setRequestHeader("If-None-Match", known);
    request.onload = () => {
      if (request.status === 304) return resolve({ page: null });
      if (request.status !== 200 || !request.response) {
        return reject(Object.assign(new Error(reason(request)), { status: request.status }));
      }
      const tag = request.getResponseHeader("ETag");
      if (tag) seen.set(address, tag);
      return resolve({ page: request.response });
    };
    request.onerror = () => reject(new Error("accounting cannot be reached"));
    request.ontimeout = () => reject(new Error("accounting does not answer in time"));
    request.send();
  });
}

function reason(request) {
  const said = request.response?.querySelector("main p")?.textContent;
  return said ? said.trim() : `accounting answered ${request.status}`;
}
