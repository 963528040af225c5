// Elements made by hand: text goes in as text and never as markup, whoever wrote it.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// Says something to those who hear the page instead of seeing it.
export function tell(text) {
  const region = document.getElementById("told");
  if (region && region.textContent !== text) region.textContent = text;
}
