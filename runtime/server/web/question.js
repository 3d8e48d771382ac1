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

function put(title, inside, yes) {
  const dialog = byId('question');
  const buttons = element('div.bar', {},
                          element('button', {type: 'button', onclick: () => dialog.close('no')}, 'Cancel'),
                          element('button.primary', {type: 'submit', value: 'yes'}, yes));
  const form = element('form', {method: 'dialog'}, element('h2', {id: 'question-title'}, title), inside, buttons);
  dialog.replaceChildren(form);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes' ? true : null), {once: true});
  });
}
