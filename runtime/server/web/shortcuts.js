// Keys, and the table that tells of them.

import {byId, dialogHead, element} from './dom.js';

const kKeys = [
  ['Enter', 'send'],
  ['Shift+Enter', 'a new line'],
  ['Esc', 'stop the answer'],
  ['↑ in an empty box', 'edit the last message'],
  ['Alt+N', 'a new conversation'],
  ['Alt+↑, Alt+↓', 'the conversation above, below'],
  ['Alt+R', 'answer again'],
  ['Alt+C', 'continue the answer'],
  ['Alt+S, Alt+G', 'settings, gauges'],
  ['/', 'to the message box'],
  ['?', 'this table'],
];

export function openKeys() {
  const dialog = byId('keys');
  const rows = kKeys.map(([key, what]) =>
      element('tr', {}, element('th', {scope: 'row'}, element('kbd', {}, key)), element('td', {}, what)));
  dialog.replaceChildren(dialogHead(dialog, 'Keys'),
                         element('table.keys', {}, element('tbody', {}, rows)));
  dialog.showModal();
}

// act: {stop, startNew, step(by), settings, gauges}
export function listenForKeys(act) {
  const click = (label) => [...document.querySelectorAll(`.message:last-child [aria-label="${label}"]`)].pop()?.click();
  const withAlt = {
    KeyN: act.startNew, KeyS: act.settings, KeyG: act.gauges, ArrowUp: () => act.step(-1), ArrowDown: () => act.step(1),
    KeyR: () => click('Answer again'), KeyC: () => click('Continue the answer'),
  };
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]')) return;
    const writing = event.target.matches('input, textarea, select');
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    let run = null;
    if (event.altKey && !event.ctrlKey && !event.metaKey) run = withAlt[event.code];
    else if (event.key === 'Escape' && plain) run = act.stop;
    else if (event.key === '?' && plain && !writing) run = openKeys;
    else if (event.key === '/' && plain && !writing) run = () => byId('message').focus();
    if (!run) return;
    event.preventDefault();
    run();
  });
}
