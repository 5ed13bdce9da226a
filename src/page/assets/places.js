// Zones and lines, drawn and dragged on the picture, and written into the settings file.

import { get, put } from './api.js';
import { element } from './draw.js';

/** How far an arrow key moves a corner, in shares of the picture; with Shift it is ten times as far. */
const STEP = 0.005;
/** What a new place looks like. */
const NEW = {
  zone: [[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]],
  line: [[0.5, 0.2], [0.5, 0.8]],
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const within = (share) => Math.round(1e4 * Math.max(0, Math.min(1, share))) / 1e4;
const percent = (share) => `${Math.round(100 * share)} %`;

export class Places {
  /** `view` is the stream on the page. */
  constructor(view) {
    this.view = view;
    this.state = element('p', { role: 'status' });
    this.list = element('ul', { className: 'queries' });
    this.corners = element('div', { className: 'corners' });
    this.edit = element('button', { type: 'button' }, ['Draw zones and lines']);
    this.edit.addEventListener('click', () => this.begin());
    this.tools = element('div', { className: 'row tools' }, [
      ...['zone', 'line'].map((kind) => this.button(`New ${kind}`, () => this.add(kind))),
      this.button('Save', () => this.save()),
      this.button('Cancel', () => this.end('')),
    ]);
    this.tools.children[2].className = 'main';
    this.tools.hidden = true;
    const parts = [element('h2', {}, ['Zones']), this.edit, this.tools, this.list, this.state];
    this.body = element('section', { className: 'card' }, [element('div', { className: 'body' }, parts)]);
  }

  button(words, act) {
    const button = element('button', { type: 'button' }, [words]);
    button.addEventListener('click', act);
    return button;
  }

  async begin() {
    try {
      const { places, version } = await get('streams', this.view.name, 'places');
      this.inForce = this.view.places;
      this.places = places;
      this.version = version;
    } catch (error) {
      this.state.textContent = error.message;
      return;
    }
    this.edit.hidden = true;
    this.tools.hidden = false;
    this.state.textContent = 'Corners can be dragged, or moved with the arrow keys; Delete takes one away.';
    this.view.picture.append(this.corners);
    this.view.picture.scrollIntoView({ block: 'nearest' });
    this.show();
  }

  end(words) {
    this.view.places = this.inForce;
    this.edit.hidden = false;
    this.tools.hidden = true;
    this.corners.remove();
    this.list.replaceChildren();
    this.state.textContent = words;
    this.view.paint();
    this.body.scrollIntoView({ block: 'nearest' });
  }

  async save() {
    try {
      const { file, places } = await put({ places: this.places, version: this.version }, 'streams', this.view.name, 'places');
      const count = places.length === 1 ? 'one is' : `${places.length} are`;
      this.end(`Saved: ${count} in ${file}. They are shown, and count, once Spotter is started again.`);
    } catch (error) {
      this.state.textContent = error.message;
    }
  }

  add(kind) {
    const names = this.places.map((place) => place.name);
    let number = 1;
    while (names.includes(`${kind} ${number}`)) number += 1;
    this.places.push({ kind, name: `${kind} ${number}`, points: structuredClone(NEW[kind]) });
    this.show();
  }

  /** Shows everything anew. */
  show() {
    this.list.replaceChildren(...this.places.map((place) => this.item(place)));
    this.corners.replaceChildren(...this.places.flatMap((place) => place.points.map((_, at) => this.corner(place, at))));
    this.draw();
  }

  draw() {
    this.view.places = this.places;
    this.view.paint();
  }

  item(place) {
    const name = element('input', { type: 'text', value: place.name, maxLength: 100 });
    name.addEventListener('input', () => {
      place.name = name.value;
      this.draw();
    });
    const acts = element('div', { className: 'row' });
    if (place.kind === 'zone') {
      acts.append(this.button('Add a corner', () => {
        const [first, last] = [place.points[0], place.points.at(-1)];
        place.points.push([within((first[0] + last[0]) / 2), within((first[1] + last[1]) / 2)]);
        this.show();
      }));
    }
    const gone = this.button('Remove', () => {
      this.places = this.places.filter((other) => other !== place);
      this.show();
    });
    gone.setAttribute('aria-label', `Remove ${place.name}`);
    acts.append(gone);
    const label = element('label', {}, [place.kind === 'zone' ? 'Zone' : 'Line', name]);
    return element('li', { className: 'query asked' }, [label, acts]);
  }

  /** A corner that can be dragged, and moved with the keyboard. */
  corner(place, at) {
    const button = element('button', { type: 'button', className: 'corner' });
    const move = (x, y) => {
      place.points[at] = [within(x), within(y)];
      const [across, down] = place.points[at];
      button.style.left = `${100 * across}%`;
      button.style.top = `${100 * down}%`;
      button.setAttribute('aria-label', `corner ${at + 1} of ${place.name}: ${percent(across)} across, ${percent(down)} down`);
      this.draw();
    };
    move(...place.points[at]);
    button.addEventListener('pointerdown', (event) => {
      button.setPointerCapture(event.pointerId);
      button.focus();
      event.preventDefault();
    });
    button.addEventListener('pointermove', (event) => {
      if (!button.hasPointerCapture(event.pointerId)) return;
      const frame = this.view.picture.getBoundingClientRect();
      move((event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height);
    });
    button.addEventListener('keydown', (event) => {
      const arrow = ARROWS[event.key];
      if (arrow) {
        const step = event.shiftKey ? 10 * STEP : STEP;
        const [x, y] = place.points[at];
        move(x + step * arrow[0], y + step * arrow[1]);
        event.preventDefault();
      } else if (event.key === 'Delete' && place.points.length > 3) {
        place.points.splice(at, 1);
        this.show();
      }
    });
    return button;
  }
}
