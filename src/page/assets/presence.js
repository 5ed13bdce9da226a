// How sure the model was of a query in the last minute, and where its threshold cuts.

import { called, colour, element, fine } from './draw.js';

const MINUTE = 60_000;
/** For so long a measured frame says how it is, ms. */
const HELD = 1000;
/** What is not here, and what is not known. */
const GREY = '#8a93a0';
/** After so long without a measurement nothing is known, ms. */
const STALE = 5000;
/** The usual threshold is low: low numbers get more room than high ones. */
const toHeight = (presence) => Math.sqrt(Math.max(0, Math.min(1, presence)));
export const toPresence = (height) => height * height;

const WORDS = { box: 'here', absent: 'not here', carried: 'carried', none: 'not measured' };

/** The last minute of one query. */
export class Presence {
  constructor(place) {
    this.place = place;
    this.points = [];
    /** Where it would cut; none where the model has no presence. */
    this.threshold = null;
  }

  add(query, now = performance.now()) {
    this.points.push({ time: now, presence: query.presence, status: query.status });
    while (this.points.length && this.points[0].time < now - MINUTE) {
      this.points.shift();
    }
    if (query.measured || !this.last) {
      this.last = query;
      this.measured = now;
    }
  }

  /** In words: for those who do not see the curve. */
  words(now = performance.now()) {
    if (!this.last) return 'nothing yet';
    const { status, presence } = this.last;
    // Frames between those that are measured say nothing new, for a while.
    if (now - this.measured > STALE) return WORDS.none;
    return presence === undefined ? WORDS[status] : `${WORDS[status]}, ${Math.round(100 * presence)} %`;
  }

  /** Share of the measured frames of the last minute on which it would be here with a threshold. */
  share(threshold) {
    const measured = this.points.filter((point) => point.presence !== undefined);
    const above = measured.filter((point) => point.presence >= threshold);
    return measured.length ? above.length / measured.length : null;
  }

  draw(canvas, now = performance.now()) {
    const { context, width, height } = fine(canvas);
    const x = (time) => width * (1 - (now - time) / MINUTE);
    const y = (presence) => height - 2 - toHeight(presence) * (height - 4);
    // A measured frame counts until the next one, for a while.
    const measured = this.points.filter((point) => point.presence !== undefined);
    const marks = measured.length ? measured : this.points;
    marks.forEach((point, index) => {
      const next = marks[index + 1]?.time ?? now;
      const [from, to] = [x(point.time), x(Math.min(next, point.time + HELD))];
      const here = point.status === 'box' || point.status === 'carried';
      context.fillStyle = here ? colour(this.place) : GREY;
      context.globalAlpha = 1;
      // Models without a number: here or not is all there is.
      const top = point.presence === undefined ? height - (here ? height / 2 : 4) : y(point.presence);
      context.fillRect(Math.floor(from), top, Math.max(1, Math.ceil(to) - Math.floor(from)), height);
      if (next > point.time + HELD) {
        context.fillStyle = GREY;
        context.globalAlpha = 0.25;
        context.fillRect(to, height - 4, x(next) - to, 4);
      }
    });
    context.globalAlpha = 1;
    if (this.threshold !== null) {
      context.strokeStyle = getComputedStyle(canvas).color;
      context.setLineDash([4, 4]);
      context.beginPath();
      context.moveTo(0, y(this.threshold));
      context.lineTo(width, y(this.threshold));
      context.stroke();
    }
    canvas.setAttribute('aria-label', `presence over the last minute; now ${this.words()}`);
  }
}

/** A row for a query: what it asks, how it stands, the last minute. */
export function row(query, presence, large) {
  const state = element('span', { className: 'faint' });
  const canvas = element('canvas', { role: 'img' });
  const swatch = element('span', { className: 'swatch', 'aria-hidden': 'true' });
  swatch.style.background = colour(presence.place);
  const name = called(query);
  const sentence = name === query.text ? name : `${name}: ${query.text}`;
  const line = element('div', { className: 'row' }, [
    element('span', { className: 'sentence' }, [swatch, sentence]),
    state,
  ]);
  const item = element('li', { className: large ? 'query large' : 'query' }, [line, canvas]);
  const refresh = () => {
    state.textContent = presence.words();
    presence.draw(canvas);
  };
  return { item, refresh };
}
