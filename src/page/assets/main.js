// Which part of the page is seen: #/ is the grid, #/stream/NAME one stream, #/seen what was seen, #/health how things are.

import { PARTS, element, parts, setPart } from './draw.js';
import { Ask } from './ask.js';
import { Places } from './places.js';
import { StreamView } from './stream.js';
import { begin } from './login.js';
import { get } from './api.js';
import { open as openHealth } from './health.js';
import { openList, openOne } from './seen.js';

const main = document.getElementById('main');
const notice = document.getElementById('notice');
let close = () => {};

function fail(text) {
  notice.textContent = text;
}

/** What is drawn on pictures. */
function switches(views) {
  const wanted = Object.entries(PARTS).filter(([name]) => name !== 'places' || views.some((view) => view.places.length));
  const boxes = wanted.map(([name, words]) => {
    const input = element('input', { type: 'checkbox', checked: parts[name] });
    input.addEventListener('change', () => {
      setPart(name, input.checked);
      views.forEach((view) => view.paint());
    });
    return element('label', {}, [input, words]);
  });
  return element('fieldset', { className: 'switches', 'aria-label': 'What is drawn' }, [element('span', { className: 'faint', 'aria-hidden': 'true' }, ['Show']), ...boxes]);
}

/** What lines mean. */
function legend() {
  const meanings = {
    measured: 'found in this very picture',
    carried: 'found a moment before',
    absent: 'looked for, not here',
    cut: 'in the curves of the last minute: above it counts as here',
  };
  const items = Object.entries(meanings).map(([name, words]) =>
    element('li', {}, [element('span', { className: `sign ${name}`, 'aria-hidden': 'true' }), words]));
  return element('ul', { className: 'legend faint', 'aria-label': 'What lines mean' }, items);
}

async function grid() {
  const { streams } = await get('streams');
  const views = streams.map((stream) => new StreamView(stream, false));
  const tiles = element('div', { className: 'grid live' }, views.map((view) => view.tile()));
  main.replaceChildren(element('h1', {}, ['Live']), switches(views), tiles);
  return () => views.forEach((view) => view.close());
}

async function one(name) {
  const stream = await get('streams', name);
  const view = new StreamView(stream, true);
  const beside = [new Ask(view).body];
  // Where no file holds them they cannot be saved.
  if (stream.draws) beside.push(new Places(view).body);
  const picture = element('article', { className: 'card' }, [
    view.picture,
    element('div', { className: 'body' }, [switches([view]), legend(), view.list]),
  ]);
  main.replaceChildren(
    element('h1', {}, [name]),
    element('p', {}, [element('a', { href: '#/' }, ['All streams'])]),
    element('div', { className: 'one' }, [picture, element('div', { className: 'beside' }, beside)]),
  );
  return () => view.close();
}

async function route() {
  close();
  close = () => {};
  fail('');
  const hash = location.hash;
  const [, part, name] = location.hash.split('/');
  for (const link of document.querySelectorAll('nav a')) {
    const here = link.dataset.part === (['health', 'seen'].includes(part) ? part : 'live');
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  try {
    let closing;
    if (part === 'health') closing = openHealth(main, fail);
    else if (part === 'seen' && name) closing = await openOne(main, decodeURIComponent(name));
    else if (part === 'seen') closing = await openList(main);
    else if (part === 'stream') closing = await one(decodeURIComponent(name ?? ''));
    else closing = await grid();
    // Somebody may have gone on while it was opened.
    if (hash === location.hash) close = closing;
    else closing();
  } catch (error) {
    main.replaceChildren(element('h1', {}, ['Spotter']));
    fail(error.message);
  }
  document.title = part === 'stream' ? `${decodeURIComponent(name ?? '')} – Spotter` : 'Spotter';
}

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && location.hash.startsWith('#/stream/') && !document.querySelector('dialog[open], .corners')) {
    location.hash = '#/';
  }
});
await begin();
const { streams: known } = await get('streams');
// What nobody keeps cannot be looked at.
document.querySelector('[data-part=seen]').hidden = !known.some((stream) => stream.keeps);
window.addEventListener('hashchange', () => {
  route();
  main.focus();
});
route();
