// Asks for the key where the server wants one.

import {byId, element} from './dom.js';

export class KeyDialog {
  constructor({keys, connection}) {
    Object.assign(this, {keys, connection});
    this.dialog = byId('key');
    connection.addEventListener('change', () => this.changed());
  }

  changed() {
    if (this.connection.state === 'ready') this.dialog.close();
    if (this.connection.state === 'key' && !this.dialog.open) this.open();
  }

  open() {
    const field = element('input', {id: 'key-field', type: 'password', autocomplete: 'off', required: true});
    const wrong = this.keys.get() !== '';
    const form = element(
        'form', {method: 'dialog'}, element('h2', {id: 'key-title'}, 'This server asks for a key'),
        wrong && element('p.state.bad', {role: 'alert'}, 'The key that was given is not one of its keys.'),
        element('label', {for: 'key-field'}, 'Key, as whoever runs the server has given it to you'), field,
        element('p.faint', {}, 'It is kept in this browser.'),
        element('div.bar.end', {},
                element('button', {type: 'button', onclick: () => this.dialog.close()}, 'Not now'),
                element('button.primary', {type: 'submit'}, 'Use it')));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.keys.set(field.value.trim());
      this.dialog.close();
      this.connection.look();
    });
    this.dialog.replaceChildren(form);
    this.dialog.showModal();
  }
}
