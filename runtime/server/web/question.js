// Questions that want an answer before anything else goes on.

import {byId, element} from './dom.js';

// True: yes.
export async function ask(title, text, yes) {
  return (await put(title, element('p', {}, text), yes)) !== null;
}

// The text, or null.
export async function askText(title, value) {
  const field = element('input', {type: 'text', 'aria-label': title, maxlength: 200});
  field.value = value;
  const answer = await put(title, field, 'Keep');
  return answer === null ? null : field.value.trim();
}

// True, or null. A `close` that belongs to the question before may still be on its way.
function put(title, inside, yes) {
  const dialog = byId('question');
  return new Promise((resolve) => {
    const over = (answer) => {
      dialog.removeEventListener('close', closed);
      dialog.close();
      resolve(answer);
    };
    const closed = () => dialog.open || over(null);
    const buttons = element('div.bar', {}, element('button', {type: 'button', onclick: () => over(null)}, 'Cancel'),
                            element('button.primary', {type: 'submit'}, yes));
    const form = element('form', {method: 'dialog'}, element('h2', {id: 'question-title'}, title), inside, buttons);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      over(true);
    });
    dialog.addEventListener('close', closed);
    dialog.replaceChildren(form);
    dialog.showModal();
  });
}
