// Elements, and boxes on a picture.

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
const COLOURS = ['#ffb703', '#3ec1ff', '#ff6f91', '#7ae582', '#c77dff', '#ffffff', '#ff9f1c', '#2ec4b6'];

export const colour = (place) => COLOURS[place % COLOURS.length];

/** What is drawn; each can be switched off. */
export const PARTS = { boxes: 'Boxes', captions: 'Captions', scores: 'Numbers', ids: 'Ids', absent: 'Not here', places: 'Zones' };

const KEY = 'spotter.parts';

export const parts = { boxes: true, captions: true, scores: true, ids: false, absent: true, places: true };

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

const percent = (value) => `${Math.round(100 * value)} %`;

/**
 * Draws what a record says over the picture that lies at `area`; `carried` where the picture is of a later frame, for which nothing is
 * known.
 */
export function drawRecord(context, area, record, carried = false) {
  const places = new Map(record.queries.map((query, place) => [query.name, place]));
  const [across, down] = [area.width / record.resolution.width, area.height / record.resolution.height];
  context.font = '600 13px system-ui, sans-serif';
  context.textBaseline = 'top';
  for (const object of record.objects) {
    const place = places.get(object.query) ?? 0;
    const { x, y, w, h } = object.box;
    const measured = object.measured && !carried;
    const box = { x: area.x + x * across, y: area.y + y * down, w: w * across, h: h * down };
    if (parts.boxes) {
      // A box that was not measured on this frame is dashed.
      context.setLineDash(measured ? [] : [8, 6]);
      context.lineWidth = 5;
      context.strokeStyle = 'rgb(0 0 0 / .6)';
      context.strokeRect(box.x, box.y, box.w, box.h);
      context.lineWidth = 2.5;
      context.strokeStyle = colour(place);
      context.strokeRect(box.x, box.y, box.w, box.h);
      context.setLineDash([]);
    }
    const words = [];
    if (parts.captions) words.push(object.query);
    if (parts.ids) words.push(`#${object.id}`);
    if (parts.scores && object.score !== undefined) words.push(percent(object.score));
    if (words.length && !measured) words.push('(carried)');
    label(context, area, words.join(' '), box.x, box.y, colour(place));
  }
  if (parts.absent) {
    const gone = record.queries.filter((query) => query.status === 'absent');
    gone.forEach((query, row) => {
      const number = parts.scores && query.presence !== undefined ? ` ${percent(query.presence)}` : '';
      label(context, area, `not here: ${query.name}${number}`, area.x + 6, area.y + 28 + 22 * row, '#d0d4da');
    });
  }
}

/** Draws zones and lines, in shares of the picture. */
export function drawPlaces(context, area, places) {
  if (!parts.places) return;
  context.font = '600 12px system-ui, sans-serif';
  context.textBaseline = 'top';
  for (const { kind, name, points } of places) {
    const at = points.map(([x, y]) => [area.x + x * area.width, area.y + y * area.height]);
    context.beginPath();
    at.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (kind === 'zone') context.closePath();
    for (const [width, style] of [[4, 'rgb(0 0 0 / .6)'], [1.5, '#fff']]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
    label(context, area, name, ...at[0], '#fff');
  }
}

/** A caption above a corner, or below it where there is no room. */
function label(context, area, text, x, y, back) {
  if (!text) return;
  const [width, height] = [context.measureText(text).width + 10, 19];
  const left = Math.max(area.x, Math.min(x, area.x + area.width - width));
  const top = y - height >= area.y ? y - height : y;
  context.fillStyle = back;
  context.fillRect(left, top, width, height);
  context.fillStyle = '#000';
  context.fillText(text, left + 5, top + 3);
}
