// Asking: sentences for a stream, or for all of them.

import { get, patch, post, remove } from './api.js';
import { called, colour, element } from './draw.js';
import { toPresence } from './presence.js';

/** The form and the list of what a stream is asked. `view` is the stream on the page. */
export class Ask {
  constructor(view) {
    this.view = view;
    this.problem = element('p', { className: 'bad', role: 'alert' });
    this.sentence = element('input', { type: 'text', required: true, maxLength: 1000, placeholder: 'a person with a dog' });
    this.button = element('button', { className: 'main' }, ['Ask']);
    const form = element('form', { className: 'ask' }, [
      element('label', {}, ['Look for', this.sentence]),
      this.button,
    ]);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.act(async () => {
        const answer = await post({ query: this.sentence.value, stream: view.name }, 'queries');
        this.sentence.value = '';
        return answer;
      });
    });
    this.list = element('ul', { className: 'queries' });
    this.body = element('section', { className: 'card' }, [
      element('div', { className: 'body' }, [element('h2', {}, ['Ask']), form, this.problem, this.list]),
    ]);
    view.onqueries = () => this.refresh();
    this.words = [];
    view.onrefresh = () => this.words.forEach((show) => show());
    this.refresh();
  }

  /** Does something that takes its time, and says what is wrong with it. */
  async act(action) {
    this.button.disabled = true;
    this.busy = true;
    this.problem.textContent = '';
    try {
      const answer = await action();
      // Words that the model does not know stand here.
      this.problem.textContent = answer?.warnings?.join(' ') ?? '';
      await this.refresh();
    } catch (error) {
      this.problem.textContent = error.message;
    }
    this.button.disabled = false;
    this.busy = undefined;
  }

  async refresh() {
    const { streams } = await get('queries');
    const asked = streams.find(({ stream }) => stream === this.view.name)?.queries ?? [];
    // What somebody is about to change stays as it is.
    if (this.list.contains(document.activeElement) && this.busy === undefined) return;
    this.words = [];
    this.list.replaceChildren(...asked.map((query, place) => this.item(query, place, asked.length)));
  }

  /** What a query is, and what can be done with it. */
  item(query, place, count) {
    const swatch = element('span', { className: 'swatch', 'aria-hidden': 'true' });
    swatch.style.background = colour(place);
    const head = element('div', { className: 'row' }, [element('h3', { className: 'sentence' }, [swatch, called(query)])]);
    if (count > 1) {
      const gone = element('button', { type: 'button', 'aria-label': `Remove ${called(query)}` }, ['Remove']);
      gone.addEventListener('click', () => this.act(() => remove({ stream: this.view.name }, 'queries', query.name)));
      head.append(gone);
    }
    const text = element('input', { type: 'text', value: query.text, maxLength: 1000, 'aria-label': 'Sentence' });
    const edit = element('form', { className: 'ask' }, [text, element('button', {}, ['Change'])]);
    edit.addEventListener('submit', (event) => {
      event.preventDefault();
      this.act(() => patch({ query: text.value, stream: this.view.name }, 'queries', query.name));
    });
    const parts = query.threshold === null ? [head, edit] : [head, edit, this.slider(query)];
    return element('li', { className: 'query asked' }, parts);
  }

  /** The threshold: while it is dragged, the curve beside the picture shows where it would cut. */
  slider(query) {
    const presence = () => this.view.presences.get(query.name);
    const input = element('input', { type: 'range', min: 0, max: 1, step: 0.005 });
    input.value = Math.sqrt(query.threshold);
    const words = element('span', { className: 'faint' });
    // The slider's steps are coarse: until it is moved, the threshold is what it is.
    let moved = false;
    const value = () => (moved ? Math.round(1000 * toPresence(Number(input.value))) / 1000 : query.threshold);
    const show = () => {
      const share = presence()?.share(value());
      const would = share === null || share === undefined ? '' : ` (last minute: ${Math.round(100 * share)} % of measured frames)`;
      words.textContent = `${Math.round(1000 * value()) / 10} % or more${would}`;
      if (presence()) presence().threshold = value();
    };
    show();
    this.words.push(show);
    input.addEventListener('input', () => {
      moved = true;
      show();
    });
    input.addEventListener('change', () => {
      this.act(() => patch({ threshold: value(), stream: this.view.name }, 'queries', query.name));
    });
    return element('label', {}, [element('span', {}, ['Counts as here at ', words]), input]);
  }
}
