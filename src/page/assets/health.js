// How the run is.

import { get } from './api.js';
import { element } from './draw.js';

/** How often it is asked, ms. */
const AGAIN = 2000;

const head = (names) => element('tr', {}, names.map((name) => element('th', { scope: 'col' }, [name])));
/** On narrow screens each cell says what it is. */
const cells = (names, values) =>
  element('tr', {}, values.map((value, column) => element('td', { 'data-name': names[column] }, [value])));

function table(caption, names, rows) {
  const body = rows.length ? rows.map((row) => cells(names, row)) : [element('tr', {}, [element('td', { colSpan: names.length }, ['none'])])];
  const made = element('table', { className: 'stacks' }, [element('thead', {}, [head(names)]), element('tbody', {}, body)]);
  return element('section', { className: 'card' }, [
    element('div', { className: 'body' }, [element('h2', {}, [caption]), element('div', { className: 'scroll' }, [made])]),
  ]);
}

const counted = (counts) => Object.entries(counts).map(([name, count]) => `${name}: ${count}`).join(', ') || 'none';

function state(stream) {
  if (stream.ended) return 'ended';
  if (stream.gap) return stream.gap;
  return stream.up ? 'up' : 'waiting for a frame';
}

function show({ about, ready, viewers, streams, warnings }) {
  const rows = streams.map((stream) => [
    stream.name,
    element('span', { className: stream.ended ? 'faint' : stream.gap || !stream.up ? 'bad' : 'good' }, [state(stream)]),
    stream.fps.in.toFixed(1),
    stream.fps.measured.toFixed(1),
    `${Math.round(stream.latency_ms)} ms`,
    counted(stream.causes),
    String(stream.gaps),
    stream.queries.map((query) => query.name).join(', '),
  ]);
  const said = warnings.toReversed().map((warning) => [
    new Date(warning.time_unix_ns / 1e6).toLocaleTimeString(),
    warning.level,
    warning.stream ?? '',
    warning.text,
  ]);
  return [
    element('h1', {}, ['Health']),
    element('p', {}, [
      `Spotter ${about.version}, model ${about.model}, on ${about.device} (${about.precision}); `,
      ready ? 'frames come from every stream' : 'not every stream gives frames',
      `; ${viewers} watching.`,
    ]),
    table(
      'Streams',
      ['Stream', 'State', 'Frames/s', 'Measured/s', 'Delay', 'Not measured', 'Gaps', 'Queries'],
      rows,
    ),
    table('Last warnings', ['Time', 'Level', 'Stream', 'What'], said),
  ];
}

/** Fills `main` until it is closed. */
export function open(main, fail) {
  let timer;
  let closed = false;
  const refresh = async () => {
    try {
      const health = await get('health');
      if (closed) return;
      main.replaceChildren(...show(health));
      fail('');
    } catch (error) {
      fail(error.message);
    }
    if (!closed) timer = setTimeout(refresh, AGAIN);
  };
  refresh();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}
