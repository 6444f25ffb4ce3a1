/** Makes and changes elements. Whatever comes from modules and the network gets in as text, and in no other way. */

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; children that are no nodes become text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Writes only what has changed: a screen reader and a selection are left in peace. */
export function setText(element, text) {
  const value = String(text);
  if (element.textContent !== value) element.textContent = value;
}

export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * Keeps one child of `parent` for each item, in their order: made once, then changed in place, so that focus stays.
 * `make(item)` gives `{ element, update(item) }`.
 */
export class Keyed {
  #parent;
  #make;
  #views = new Map();

  constructor(parent, make) {
    this.#parent = parent;
    this.#make = make;
  }

  show(items, keyOf) {
    const wanted = new Set(items.map(keyOf));
    for (const [key, { element }] of this.#views) {
      if (wanted.has(key)) continue;
      element.remove();
      this.#views.delete(key);
    }
    items.forEach((item, index) => {
      const key = keyOf(item);
      let view = this.#views.get(key);
      if (view === undefined) {
        view = this.#make(item);
        this.#views.set(key, view);
      }
      view.update(item);
      const there = this.#parent.children[index];
      if (there !== view.element) this.#parent.insertBefore(view.element, there ?? null);
    });
  }
}

/** Says something to screen readers, and not more than once in a while. */
export class Announcer {
  #element;
  #waiting = [];
  #timer;

  constructor(element) {
    this.#element = element;
  }

  say(text) {
    this.#waiting.push(text);
    this.#timer ??= setTimeout(() => {
      const some = this.#waiting.slice(0, 5);
      const more = this.#waiting.length - some.length;
      this.#element.textContent = `${some.join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
      this.#waiting = [];
      this.#timer = undefined;
    }, 3000);
  }
}
