// Elements, made by hand. Text becomes text nodes and nothing else: no function of this page reads markup, so nothing
// that a model, a file or a server says can become any.

const kSvg = 'http://www.w3.org/2000/svg';

// element('button.primary', {type: 'button', onclick: send, 'aria-label': 'Send'}, 'Send')
//   Properties whose names begin with `on` are listeners; true, false and null are attributes that are there or not.
//   Children that are null or false are left out; those that are no nodes are text.
export function element(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(' ');
  for (const [key, value] of Object.entries(properties)) set(made, key, value);
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function set(made, key, value) {
  if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
  else if (value === true) made.setAttribute(key, '');
  else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, String(value));
}

// Drawings of 24 by 24, in lines.
const kIcons = {
  menu: 'M4 7h16M4 12h16M4 17h16',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
  send: 'M12 19V5M5.5 11.5L12 5l6.5 6.5',
  stop: 'M7 7h10v10H7z',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  done: 'M5 12.5l4.5 4.5L19 7.5',
  edit: 'M4 20l1-4L16 5l3 3L8 19l-4 1zM14 7l3 3',
  again: 'M20 11A8 8 0 1 0 18 17M20 4v7h-7',
  onward: 'M5 12h13M13 6l6 6-6 6',
  bin: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5',
  left: 'M14.5 6L8.5 12l6 6',
  right: 'M9.5 6l6 6-6 6',
  down: 'M12 5v14M5.5 12.5L12 19l6.5-6.5',
  clip: 'M19 11l-7.5 7.5a4.5 4.5 0 0 1-6.4-6.4L13 4.3a3 3 0 0 1 4.3 4.3l-7.8 7.7a1.5 1.5 0 0 1-2.1-2.1L14 7.6',
  gear: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  gauge: 'M4 17a8 8 0 1 1 16 0M12 17l4-5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2',
  moon: 'M20 14.5A8.5 8.5 0 1 1 9.5 4 7 7 0 0 0 20 14.5z',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  thought: 'M12 4a7 7 0 0 0-4 12.7V19h8v-2.3A7 7 0 0 0 12 4zM9.5 21.5h5',
  tool: 'M14.5 6.5a4 4 0 0 0-5.3 4.9L4 16.6 7.4 20l5.2-5.2a4 4 0 0 0 4.9-5.3L15 12l-3-3z',
};

export function icon(name) {
  const svg = document.createElementNS(kSvg, 'svg');
  for (const [key, value] of Object.entries({viewBox: '0 0 24 24', 'aria-hidden': 'true', class: 'icon'}))
    svg.setAttribute(key, value);
  const path = document.createElementNS(kSvg, 'path');
  path.setAttribute('d', kIcons[name]);
  svg.append(path);
  return svg;
}

// A button that shows an icon; its label is for screen readers and for those who hover.
export function iconButton(name, label, onclick, more = {}) {
  return element('button.quiet', {type: 'button', 'aria-label': label, title: label, onclick, ...more}, icon(name));
}

// The head of a dialog. Its title has the focus at first: it is read, nothing is chosen, and no phone shows its keyboard.
export function dialogHead(dialog, title) {
  return element('div.bar', {}, element('h2', {id: `${dialog.id}-title`, tabindex: -1, autofocus: true}, title),
                 iconButton('close', 'Close', () => dialog.close()));
}

export const byId = (id) => document.getElementById(id);

// Said to screen readers once, when they have finished what they say.
export function announce(text) {
  byId('announcer').textContent = text;
}

// To the clipboard; where the page may not use it (plain HTTP from another machine), by way of a selection.
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // Not permitted: the other way may be.
    }
  }
  const area = element('textarea.visually-hidden', {'aria-hidden': 'true', readonly: true});
  area.value = text;
  const before = document.activeElement;
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  before?.focus();
  if (!copied) throw new Error('the browser does not let this page copy');
}
