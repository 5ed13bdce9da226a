// What a record says, over its picture.

import { called, colour, parts, wordSize } from './draw.js';

/** What was not measured on this frame. */
const DASHES = [8, 6];
/** Grey: nothing is claimed. */
const NOTHING = '#d0d4da';
/** Behind light lines and words. */
const DARK = 'rgb(0 0 0 / .75)';

const percent = (value) => `${Math.round(100 * value)} %`;

/** Words on a picture, none over another. */
export class Labels {
  constructor(context, area) {
    this.context = context;
    this.area = area;
    this.size = wordSize();
    this.taken = [];
  }

  /**
   * Words above a corner, or below it where there is no room. They are dark on `back`, or, where they are not of this very frame,
   * in that colour on dark.
   */
  put(text, x, y, back, measured = true) {
    if (!text) return;
    const { context, area } = this;
    context.font = `600 ${this.size}px system-ui, sans-serif`;
    context.textBaseline = 'middle';
    const words = this.short(text, area.width - 10);
    const [width, height] = [context.measureText(words).width + 10, Math.round(1.5 * this.size)];
    const left = Math.max(area.x, Math.min(x, area.x + area.width - width));
    const top = this.free(left, y - height >= area.y ? y - height : y, width, height);
    context.fillStyle = measured ? back : DARK;
    context.fillRect(left, top, width, height);
    context.fillStyle = measured ? '#000' : back;
    context.fillText(words, left + 5, top + height / 2 + 0.5);
  }

  /** Where nothing is written yet: there, or further down. */
  free(left, top, width, height) {
    const meets = (row) => this.taken.find(({ x, y, w, h }) => x < left + width && left < x + w && y < row + height && row < y + h);
    let row = top;
    for (let other = meets(row); other && row + 2 * height <= this.area.y + this.area.height; other = meets(row)) {
      row = other.y + other.h + 1;
    }
    this.taken.push({ x: left, y: row, w: width, h: height });
    return row;
  }

  /** As many letters as there is room for. */
  short(text, room) {
    if (this.context.measureText(text).width <= room) return text;
    let letters = [...text];
    while (letters.length > 1 && this.context.measureText(`${letters.join('')}…`).width > room) {
      letters = letters.slice(0, Math.floor(0.9 * letters.length));
    }
    return `${letters.join('').trimEnd()}…`;
  }
}

/** A line that is seen on bright and dark ground; it is as thick as its words want it. */
export function stroke(context, thick, style, dashes = []) {
  const scale = wordSize() / 12.8;
  const width = thick * scale;
  context.setLineDash(dashes.map((long) => long * scale));
  context.lineJoin = 'round';
  context.lineWidth = 2 * width;
  context.strokeStyle = DARK;
  context.stroke();
  context.lineWidth = width;
  context.strokeStyle = style;
  context.stroke();
  context.setLineDash([]);
}

/**
 * Draws what a record says over the picture that lies at `area`; `carried` where the picture is of a later frame, for which nothing is
 * known. `before` is the newest record of a frame that was measured: what was not here then stands there as not of this frame.
 */
export function drawRecord(context, area, labels, record, before = null, carried = false) {
  const queries = new Map(record.queries.map((query, place) => [query.name, { words: called(query), style: colour(place) }]));
  const [across, down] = [area.width / record.resolution.width, area.height / record.resolution.height];
  const things = record.objects.map((object) => ({
    object,
    ...(queries.get(object.query) ?? { words: object.query, style: colour(0) }),
    measured: object.measured && !carried,
    left: area.x + object.box.x * across,
    top: area.y + object.box.y * down,
  }));
  for (const { object, style, measured, left, top } of parts.boxes ? things : []) {
    context.beginPath();
    context.rect(left, top, object.box.w * across, object.box.h * down);
    stroke(context, 2.5, style, measured ? [] : DASHES);
  }
  for (const { object, words, style, measured, left, top } of things) {
    const said = [];
    if (parts.captions) said.push(words);
    if (parts.ids) said.push(`#${object.id}`);
    if (parts.scores && object.score !== undefined) said.push(percent(object.score));
    labels.put(said.join(' '), left, top, style, measured);
  }
  if (parts.absent) drawAbsent(area, labels, record, before, carried);
}

/** What is not there, and what was not looked for. */
function drawAbsent(area, labels, record, before, carried) {
  for (const query of record.queries) {
    const known = query.status === 'none' ? before?.queries.find(({ name }) => name === query.name) : query;
    const words = { absent: 'not here', none: 'not looked at' }[known?.status ?? 'none'];
    if (!words) continue;
    const number = parts.scores && known?.presence !== undefined ? ` ${percent(known.presence)}` : '';
    labels.put(`${words}: ${called(query)}${number}`, area.x + 6, area.y + 6, NOTHING, known === query && !carried);
  }
}

/** Draws zones and lines, in shares of the picture; their names come last, where things leave room. */
export function drawPlaces(context, area, places) {
  if (!parts.places) return;
  for (const { kind, points } of places) {
    const at = points.map(([x, y]) => [area.x + x * area.width, area.y + y * area.height]);
    context.beginPath();
    at.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (kind === 'zone') context.closePath();
    stroke(context, 1.5, '#fff');
  }
}

/** Writes the names of zones and lines where they begin. */
export function namePlaces(area, labels, places) {
  if (!parts.places) return;
  for (const { name, points: [[x, y]] } of places) labels.put(name, area.x + x * area.width + labels.size, area.y + y * area.height, '#fff');
}
