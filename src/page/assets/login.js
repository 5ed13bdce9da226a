// The password, where one is asked for.

import { get, onPassword, post, remove } from './api.js';
import { element } from './draw.js';

let asked = null;

/** Shows the dialog until the password is right. */
function ask() {
  asked ??= new Promise((resolve) => {
    const input = element('input', { type: 'password', autocomplete: 'current-password', required: true });
    const problem = element('p', { className: 'bad', role: 'alert' });
    const form = element('form', { method: 'dialog' }, [
      element('h2', {}, ['Who is there?']),
      element('label', {}, ['Password ', input]),
      problem,
      element('button', { className: 'main' }, ['Log in']),
    ]);
    const dialog = element('dialog', {}, [form]);
    // Without a password there is nothing behind it.
    dialog.addEventListener('cancel', (event) => event.preventDefault());
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      try {
        await post({ password: input.value }, 'session');
      } catch (error) {
        problem.textContent = error.message;
        input.select();
        return;
      }
      dialog.close();
      dialog.remove();
      asked = null;
      await showLeave();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asked;
}

async function showLeave() {
  const session = await get('session');
  document.getElementById('leave').hidden = !(session.asks && session.in);
}

export async function begin() {
  onPassword(ask);
  document.getElementById('leave').addEventListener('click', async () => {
    await remove({}, 'session');
    location.reload();
  });
  const session = await get('session');
  if (session.asks && !session.in) {
    await ask();
  }
  await showLeave();
}
