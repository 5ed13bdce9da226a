// Elements, colours, what is drawn on pictures, and canvases.

/** An element with properties and children; what is no property becomes an attribute. */
export function element(name, properties = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== 'role' && !key.startsWith('aria')) {
      made[key] = value;
    } else {
      made.setAttribute(key, value);
    }
  }
  made.append(...children);
  return made;
}

/** Colours of queries, by their place: told apart in bright and dark pictures, and by most who see few colours. */
const COLOURS = ['#ffb703', '#3ec1ff', '#ff6f91', '#7ae582', '#c77dff', '#d9a066', '#f2f2f2', '#2ec4b6'];

export const colour = (place) => COLOURS[place % COLOURS.length];

/** How a query is called: by its name, or by its sentence once another one was typed. */
export const called = ({ name, text, rev }) => (rev > 1 ? text : name);

/** What is drawn; each can be switched off. */
export const PARTS = {
  boxes: 'Boxes',
  captions: 'Captions',
  scores: 'How sure (%)',
  ids: 'Ids',
  paths: 'Paths',
  absent: 'What is not here',
  places: 'Zones',
};

const KEY = 'spotter.parts';

export const parts = { boxes: true, captions: true, scores: true, ids: false, paths: true, absent: true, places: true };

try {
  Object.assign(parts, JSON.parse(localStorage.getItem(KEY)) ?? {});
} catch {
  // A browser that keeps nothing shows what is usual.
}

export function setPart(name, on) {
  parts[name] = on;
  try {
    localStorage.setItem(KEY, JSON.stringify(parts));
  } catch {
    // As above.
  }
}

/** Makes a canvas as fine as the screen; its context counts in CSS pixels. */
export function fine(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    [canvas.width, canvas.height] = [across, down];
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let words;
window.addEventListener('resize', () => { words = undefined; });
/** Height of words on pictures: it grows with that of the page. */
export const wordSize = () => (words ??= 0.8 * parseFloat(getComputedStyle(document.documentElement).fontSize));

/** Where a picture of `width` x `height` lies in a place that has another shape. */
export function fit(place, width, height) {
  const scale = Math.min(place.width / width, place.height / height);
  return {
    x: (place.width - width * scale) / 2,
    y: (place.height - height * scale) / 2,
    width: width * scale,
    height: height * scale,
  };
}

/** The picture of a record as it is to be seen: pixels of some cameras are no squares. */
export function shape(record) {
  const { width, height, par } = record.resolution;
  return { width: width * (par || 1), height };
}
