// Where things went in the last seconds.

import { colour, parts, wordSize } from './draw.js';

/** How long a path is, ns. */
const LONG = 5e9;
/** How long points are kept: pictures come later than their records, ns. */
const KEPT = 10e9;

const keyOf = ({ id, query }) => `${id} ${query}`;

/** The foot of each thing, by query and id, on the frames that it was measured on. */
export class Trails {
  constructor() {
    this.all = new Map();
  }

  add({ pts_ns: now, resolution, objects }) {
    if (now === null) return;
    for (const object of objects) {
      const { query, box, measured } = object;
      if (!measured) continue;
      const key = keyOf(object);
      const points = this.all.get(key)?.points ?? [];
      // Time that begins anew.
      if (points.length && points.at(-1).time >= now) points.length = 0;
      points.push({ time: now, x: (box.x + box.w / 2) / resolution.width, y: (box.y + box.h) / resolution.height });
      this.all.set(key, { query, points });
    }
    for (const [key, { points }] of this.all) {
      while (points.length && Math.abs(now - points[0].time) > KEPT) points.shift();
      if (!points.length) this.all.delete(key);
    }
  }

  /** Draws the paths of what is here up to the frame of this time; the older a part, the paler. */
  draw(context, area, { queries, objects }, now) {
    if (!parts.paths || now === null) return;
    const places = new Map(queries.map(({ name }, place) => [name, place]));
    const here = new Set(objects.map(keyOf));
    context.lineWidth = wordSize() / 4;
    context.lineCap = 'round';
    for (const [key, { query, points }] of this.all) {
      if (!here.has(key)) continue;
      context.strokeStyle = colour(places.get(query));
      const seen = points.filter(({ time }) => time <= now && time > now - LONG);
      for (let at = 1; at < seen.length; at += 1) {
        const [from, to] = [seen[at - 1], seen[at]];
        context.globalAlpha = 0.9 * (1 - (now - to.time) / LONG);
        context.beginPath();
        context.moveTo(area.x + from.x * area.width, area.y + from.y * area.height);
        context.lineTo(area.x + to.x * area.width, area.y + to.y * area.height);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    context.lineCap = 'butt';
  }
}
