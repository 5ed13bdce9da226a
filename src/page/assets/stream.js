// A stream on the page: its picture with what is found, and its queries.

import { Presence, row } from './presence.js';
import { element, fine, fit, shape } from './draw.js';
import { Film, plays } from './film.js';
import { Labels, drawPlaces, drawRecord, namePlaces } from './record.js';
import { Live } from './live.js';
import { Trails } from './trails.js';

/** How often curves and words are drawn anew, ms. */
const REFRESH = 500;

export class StreamView {
  /** `offered` is what its socket can send; `large` where it stands alone. */
  constructor({ name, video: offered, places }, large) {
    this.name = name;
    this.places = places;
    this.large = large;
    this.presences = new Map();
    this.rows = [];
    this.trails = new Trails();
    this.cover = element('p', { className: 'cover', role: 'status' });
    this.image = element('canvas', { role: 'img', 'aria-label': `live picture of ${name}` });
    this.over = element('canvas', { 'aria-hidden': 'true' });
    this.picture = element('div', { className: 'picture' }, [this.image, this.over, this.cover]);
    const film = offered.includes('mp4') && plays();
    this.list = element('ul', { className: 'queries', 'aria-label': `queries of ${name}` });
    this.live = new Live(name, film ? 'mp4' : 'jpeg');
    this.live.addEventListener('open', () => this.begin());
    this.live.addEventListener('film', ({ detail }) => {
      if (detail) this.film?.head(detail);
      else this.pictures('there is no film');
    });
    this.live.addEventListener('part', ({ detail }) => this.film?.part(detail));
    this.live.addEventListener('state', ({ detail }) => {
      this.cover.textContent = detail;
    });
    this.live.addEventListener('record', ({ detail }) => this.record(detail));
    this.live.addEventListener('frame', ({ detail }) => this.frame(detail));
    this.timer = setInterval(() => {
      this.rows.forEach((one) => one.refresh());
      this.onrefresh?.();
    }, REFRESH);
    this.resize = new ResizeObserver(() => this.paint());
    this.resize.observe(this.picture);
  }

  /** A tile that opens the stream. */
  tile() {
    const target = `#/stream/${encodeURIComponent(this.name)}`;
    const open = element('a', { className: 'open', href: target, tabIndex: -1, 'aria-hidden': 'true' });
    this.picture.append(open);
    const title = element('h2', {}, [element('a', { href: target }, [this.name])]);
    return element('article', { className: 'card' }, [
      this.picture,
      element('div', { className: 'body' }, [title, this.list]),
    ]);
  }

  /** A connection begins, and its film with it. */
  begin() {
    this.film?.close();
    this.film = null;
    if (this.live.video !== 'mp4') return;
    if (!this.video) {
      // It plays behind the canvas: what it shows and what is drawn over it would not change at the same moment.
      this.video = element('video', { muted: true, playsInline: true, 'aria-hidden': 'true', tabIndex: -1 });
      this.picture.prepend(this.video);
    }
    this.film = new Film(this.video, (pts_ns, picture) => this.moment(pts_ns, picture), (reason) => this.pictures(reason));
  }

  /** What cannot be played comes as pictures. */
  pictures(reason) {
    if (this.live.video === 'jpeg') return;
    console.info(`${this.name}: ${reason}`);
    this.film?.close();
    this.film = null;
    this.video?.remove();
    this.video = null;
    this.live.change('jpeg');
  }

  /** A frame of the film is seen: its own boxes, or those before it, which are dashed. */
  moment(pts_ns, picture) {
    const own = this.live.at(pts_ns);
    const known = own && own.status !== 'dropped' && own.status !== 'error';
    const before = this.live.before(pts_ns);
    const record = known ? own : before;
    this.cover.textContent = '';
    if (!record) {
      this.paint(picture);
      return;
    }
    const { width, height, rotation } = record.resolution;
    const { size } = this.film;
    // Encoders may add a column or a row.
    const apart = Math.max(Math.abs(width - size.width), Math.abs(height - size.height));
    if (rotation !== 0 || apart > 1) {
      this.pictures('the film is not what is looked at: it is turned or cut');
      return;
    }
    this.shown = { record, before, pts_ns, carried: !known };
    this.paint(picture);
  }

  record(record) {
    this.film?.known(record.pts_ns);
    const asked = record.queries.map((query) => [query.name, query.text].join('\0')).join('\0');
    if (asked !== this.asked) {
      this.asked = asked;
      this.ask(record.queries);
    }
    for (const query of record.queries) {
      this.presences.get(query.name).add(query);
    }
    this.trails.add(record);
  }

  /** Other queries than before; those that stay keep their last minute. */
  ask(queries) {
    const before = this.presences;
    this.presences = new Map();
    this.rows = queries.map((query, place) => {
      const presence = before.get(query.name) ?? new Presence(place);
      presence.place = place;
      this.presences.set(query.name, presence);
      return row(query, presence, this.large);
    });
    this.list.replaceChildren(...this.rows.map((one) => one.item));
    this.onqueries?.(queries);
  }

  frame({ record, image }) {
    this.shown?.image?.close();
    const before = record.pts_ns === null ? null : this.live.before(record.pts_ns);
    this.shown = { record, before, image, pts_ns: record.pts_ns, carried: false };
    this.paint();
  }

  /** Draws picture and boxes together: the boxes are those of this very frame. */
  paint(picture = this.shown?.image ?? this.video) {
    const { record, before, pts_ns, carried } = this.shown ?? {};
    const size = record ? shape(record) : this.film?.size;
    if (size) {
      this.picture.style.aspectRatio = `${size.width} / ${size.height}`;
      // All of it is to be seen without scrolling.
      this.picture.style.maxWidth = `calc(80vh * ${size.width / size.height})`;
    }
    const over = fine(this.over);
    const area = size ? fit(over, size.width, size.height) : { x: 0, y: 0, width: over.width, height: over.height };
    if (picture) fine(this.image).context.drawImage(picture, area.x, area.y, area.width, area.height);
    const labels = new Labels(over.context, area);
    drawPlaces(over.context, area, this.places);
    if (record) {
      this.trails.draw(over.context, area, record, pts_ns);
      drawRecord(over.context, area, labels, record, before, carried);
    }
    namePlaces(area, labels, this.places);
  }

  close() {
    clearInterval(this.timer);
    this.resize.disconnect();
    this.live.close();
    this.film?.close();
    this.shown?.image?.close();
    this.shown = null;
  }
}
