// What was seen and is kept: a list, the newest first, and one sighting with its pictures and its clip.

import { address, get, getWith } from './api.js';
import { element } from './draw.js';

/** Sightings that are asked for at once. */
const MOST = 30;

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

export async function openList(main) {
  const [{ streams }, { streams: asked }] = await Promise.all([get('streams'), get('queries')]);
  const unique = (values) => [...new Set(values)];
  const form = element('form', { className: 'ask' }, [
    choice('stream', 'Stream', streams.filter((stream) => stream.keeps).map((stream) => stream.name)),
    choice('query', 'Query', unique(asked.flatMap((stream) => stream.queries.map((query) => query.name)))),
    choice('zone', 'Zone', unique(streams.flatMap((s) => s.places.filter((p) => p.kind === 'zone').map((p) => p.name)))),
    element('label', {}, ['Day', element('input', { type: 'date', name: 'day' })]),
  ]);
  const list = element('div', { className: 'grid' });
  const state = element('p', { role: 'status' });
  const more = element('button', { type: 'button' }, ['Older']);
  const known = new Set();
  let oldest = null;
  const load = async (fresh) => {
    if (fresh) {
      known.clear();
      oldest = null;
      list.replaceChildren();
    }
    const wanted = parameters(form);
    // Up to the millisecond, and one: what is there already is passed over.
    if (oldest !== null) wanted.until = new Date(Math.floor(oldest / 1e6) + 1).toISOString();
    const { sightings } = await getWith(wanted, 'sightings');
    const news = sightings.filter((sighting) => !known.has(sighting.id));
    news.forEach((sighting) => known.add(sighting.id));
    list.append(...news.map(card));
    oldest = sightings.at(-1)?.start_unix_ns ?? oldest;
    more.hidden = sightings.length < MOST;
    state.textContent = known.size ? '' : 'Nothing was seen.';
  };
  form.addEventListener('change', () => load(true));
  form.addEventListener('submit', (event) => event.preventDefault());
  more.addEventListener('click', () => load(false));
  main.replaceChildren(element('h1', {}, ['Seen']), form, list, state, more);
  await load(true);
  return () => {};
}

export async function openOne(main, id) {
  const sighting = await get('sightings', id);
  const when = time(sighting.start_unix_ns);
  const clips = sighting.files.filter((file) => file.kind === 'clip').map((file) => {
    if (file.type !== 'video/mp4') {
      return element('p', {}, [element('a', { href: file.href, download: '' }, ['The clip, for a player'])]);
    }
    return element('video', { src: file.href, controls: true, playsInline: true, 'aria-label': `clip of ${sighting.query}` });
  });
  const pictures = ['snapshot', 'crop'].map((kind) => fileOf(sighting, kind)).filter(Boolean).map((file) =>
    element('img', { src: file.href, alt: `${sighting.query}: ${file.kind === 'crop' ? 'the thing alone' : 'the whole picture'}` }));
  const facts = [
    ['Query', sighting.text],
    ['Stream', sighting.stream],
    ['From', when.toLocaleString()],
    ['To', sighting.cause === null ? 'still here' : time(sighting.last_unix_ns).toLocaleString()],
    ['Zones', sighting.zones.join(', ') || 'none'],
    ['Surest', sighting.best.score === undefined ? 'not known' : `${Math.round(100 * sighting.best.score)} %`],
  ];
  const rows = facts.map(([name, value]) => element('tr', {}, [
    element('th', { scope: 'row' }, [name]),
    element('td', {}, [value]),
  ]));
  const back = element('p', {}, [element('a', { href: '#/seen' }, ['All sightings'])]);
  const media = element('div', { className: 'body media' }, [...clips, ...pictures]);
  const table = element('div', { className: 'body' }, [
    element('table', {}, [element('tbody', {}, rows)]),
    element('p', {}, [element('a', { href: address('sightings', id) }, ['As JSON'])]),
  ]);
  main.replaceChildren(
    element('h1', {}, [`${sighting.query}, ${when.toLocaleString()}`]),
    back,
    element('div', { className: 'one' }, [
      element('article', { className: 'card' }, [media]),
      element('section', { className: 'card' }, [table]),
    ]),
  );
  return () => {};
}
