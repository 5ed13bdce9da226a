// What was seen and is kept: a list, the newest first, and one sighting with its pictures and its clip.

import { address, get, getWith } from './api.js';
import { clip } from './clip.js';
import { element } from './draw.js';

/** Sightings that are asked for at once. */
const MOST = 30;
/** How often it is asked what is new, ms. */
const AGAIN = 1000;

const time = (unix_ns) => new Date(unix_ns / 1e6);
const fileOf = (sighting, kind) => sighting.files.find((file) => file.kind === kind);

function length(sighting) {
  const seconds = (sighting.last_unix_ns - sighting.start_unix_ns) / 1e9;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function words(sighting) {
  const zones = sighting.zones.length ? `, in ${sighting.zones.join(', ')}` : '';
  const state = sighting.cause === null ? 'still here' : length(sighting);
  return `${sighting.stream}, ${state}${zones}`;
}

function card(sighting) {
  const link = `#/seen/${encodeURIComponent(sighting.id)}`;
  const picture = fileOf(sighting, 'snapshot') ?? fileOf(sighting, 'crop');
  const when = time(sighting.start_unix_ns);
  const image = picture
    ? element('img', { src: picture.href, loading: 'lazy', alt: `${sighting.query}, ${when.toLocaleString()}` })
    : element('p', { className: 'faint' }, ['no picture']);
  return element('a', { className: 'card seen', href: link }, [
    element('div', { className: 'shot' }, [image]),
    element('div', { className: 'body' }, [
      element('h2', {}, [sighting.query]),
      element('p', {}, [element('time', { dateTime: when.toISOString() }, [when.toLocaleString()])]),
      element('p', { className: 'faint' }, [words(sighting)]),
    ]),
  ]);
}

function choice(name, label, values) {
  const options = [element('option', { value: '' }, ['all']), ...values.map((value) => element('option', { value }, [value]))];
  const select = element('select', { name }, options);
  return element('label', {}, [label, select]);
}

/** Parameters of a list, of what stands in the form. */
function parameters(form) {
  const data = new FormData(form);
  const wanted = { most: MOST };
  for (const key of ['stream', 'query', 'zone']) {
    if (data.get(key)) wanted[key] = data.get(key);
  }
  if (data.get('day')) {
    const day = new Date(`${data.get('day')}T00:00`);
    const next = new Date(day);
    next.setDate(day.getDate() + 1);
    [wanted.since, wanted.until] = [day.toISOString(), next.toISOString()];
  }
  return wanted;
}

/** Does something over and over, until what it returns is called. While the page is hidden it waits. */
function repeat(act) {
  let timer;
  let over = false;
  const again = async () => {
    if (!document.hidden) await act();
    if (!over) timer = setTimeout(again, AGAIN);
  };
  timer = setTimeout(again, AGAIN);
  return () => {
    over = true;
    clearTimeout(timer);
  };
}

/** Cards of sightings, each made anew when something else is known of it. */
class Cards {
  constructor() {
    this.list = element('div', { className: 'grid' });
    this.clear();
  }

  clear() {
    this.known = new Map();
    this.list.replaceChildren();
  }

  get count() {
    return this.known.size;
  }

  /** The card of a sighting as it stands now. */
  node(sighting) {
    const text = JSON.stringify(sighting);
    const before = this.known.get(sighting.id);
    if (before?.text === text) return before.node;
    const node = card(sighting);
    if (before) {
      const focused = document.activeElement === before.node;
      before.node.replaceWith(node);
      if (focused) node.focus();
    }
    this.known.set(sighting.id, { text, node });
    return node;
  }

  /** The newest ones; they stand before all others. */
  newest(sightings) {
    let place = this.list.firstChild;
    for (const sighting of sightings) {
      // Where a card is made anew, it stands where the old one did.
      const first = this.known.get(sighting.id)?.node === place;
      const node = this.node(sighting);
      if (first && place) place = node.nextSibling;
      else this.list.insertBefore(node, place);
    }
  }

  /** Older ones, behind all others. */
  older(sightings) {
    this.list.append(...sightings.filter(({ id }) => !this.known.has(id)).map((sighting) => this.node(sighting)));
  }
}

export async function openList(main) {
  const [{ streams }, { streams: queries }] = await Promise.all([get('streams'), get('queries')]);
  const unique = (values) => [...new Set(values)];
  const form = element('form', { className: 'ask' }, [
    choice('stream', 'Stream', streams.filter((stream) => stream.keeps).map((stream) => stream.name)),
    choice('query', 'Query', unique(queries.flatMap((stream) => stream.queries.map((query) => query.name)))),
    choice('zone', 'Zone', unique(streams.flatMap((s) => s.places.filter((p) => p.kind === 'zone').map((p) => p.name)))),
    element('label', {}, ['Day', element('input', { type: 'date', name: 'day' })]),
  ]);
  const cards = new Cards();
  const state = element('p', { role: 'status' });
  const more = element('button', { type: 'button', hidden: true }, ['Older']);
  let oldest = null;
  /** Changes with the form: answers to what it said before come too late. */
  let question = 0;
  const ask = async (wanted, take) => {
    const asked = question;
    try {
      const { sightings } = await getWith(wanted, 'sightings');
      if (asked !== question) return;
      take(sightings);
      state.textContent = cards.count ? '' : 'Nothing was seen.';
    } catch (error) {
      state.textContent = error.message;
    }
  };
  const renew = () => ask(parameters(form), (sightings) => {
    cards.newest(sightings);
    if (oldest !== null) return;
    oldest = sightings.at(-1)?.start_unix_ns ?? null;
    more.hidden = sightings.length < MOST;
  });
  const older = () => {
    // Up to the millisecond, and one: what is there already is passed over.
    const until = new Date(Math.floor(oldest / 1e6) + 1).toISOString();
    return ask({ ...parameters(form), until }, (sightings) => {
      cards.older(sightings);
      oldest = sightings.at(-1)?.start_unix_ns ?? oldest;
      more.hidden = sightings.length < MOST;
    });
  };
  form.addEventListener('change', () => {
    question += 1;
    oldest = null;
    cards.clear();
    renew();
  });
  form.addEventListener('submit', (event) => event.preventDefault());
  more.addEventListener('click', older);
  main.replaceChildren(element('h1', {}, ['Seen']), form, state, cards.list, more);
  await renew();
  return repeat(renew);
}

/** Rows of what is known of a sighting. */
function facts(sighting) {
  const rows = [
    ['Query', sighting.text],
    ['Stream', sighting.stream],
    ['From', time(sighting.start_unix_ns).toLocaleString()],
    ['To', sighting.cause === null ? 'still here' : time(sighting.last_unix_ns).toLocaleString()],
    ['Zones', sighting.zones.join(', ') || 'none'],
    ['Surest', sighting.best.score === undefined ? 'not known' : `${Math.round(100 * sighting.best.score)} %`],
  ];
  return rows.map(([name, value]) => element('tr', {}, [
    element('th', { scope: 'row' }, [name]),
    element('td', {}, [value]),
  ]));
}

/** What a file of a sighting looks like. */
function medium(sighting, file) {
  if (file.kind === 'clip') {
    const cues = sighting.files.find((other) => other.kind === 'cues' && other.start_pts_ns === file.start_pts_ns);
    return clip(sighting, file, cues);
  }
  const what = file.kind === 'crop' ? 'the thing alone' : 'the whole picture';
  return element('img', { src: file.href, alt: `${sighting.query}: ${what}` });
}

export async function openOne(main, id) {
  const media = element('div', { className: 'body media' });
  const rows = element('tbody');
  const state = element('p', { className: 'faint', role: 'status' });
  const shown = new Map();
  let known;
  const show = (sighting) => {
    const text = JSON.stringify(sighting);
    if (text === known) return;
    known = text;
    rows.replaceChildren(...facts(sighting));
    const order = ['clip', 'snapshot', 'crop'].flatMap((kind) => sighting.files.filter((file) => file.kind === kind));
    for (const file of order) {
      // What plays goes on playing.
      if (!shown.has(file.href)) shown.set(file.href, medium(sighting, file));
    }
    const wanted = order.map((file) => shown.get(file.href));
    wanted.forEach((node, place) => {
      if (media.children[place] !== node) media.insertBefore(node, media.children[place] ?? null);
    });
    while (media.children.length > wanted.length) media.lastChild.remove();
    state.textContent = order.length ? '' : 'There is neither picture nor clip.';
  };
  const sighting = await get('sightings', id);
  show(sighting);
  const table = element('div', { className: 'body' }, [
    element('table', {}, [rows]),
    element('p', {}, [element('a', { href: address('sightings', id) }, ['As JSON'])]),
  ]);
  main.replaceChildren(
    element('h1', {}, [`${sighting.query}, ${time(sighting.start_unix_ns).toLocaleString()}`]),
    element('p', {}, [element('a', { href: '#/seen' }, ['All sightings'])]),
    element('div', { className: 'one' }, [
      element('article', { className: 'card' }, [media, state]),
      element('section', { className: 'card' }, [table]),
    ]),
  );
  return repeat(async () => {
    try {
      show(await get('sightings', id));
    } catch (error) {
      state.textContent = error.message;
    }
  });
}
