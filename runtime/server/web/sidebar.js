// The list of conversations; on narrow screens a drawer.

import {byId, element, icon, iconButton} from './dom.js';
import {ask, askText} from './question.js';

export class Sidebar {
  constructor(chat) {
    this.chat = chat;
    byId('new').append(icon('plus'), 'New conversation');
    byId('open-sidebar').append(icon('menu'));
    byId('close-sidebar').append(icon('close'));
    byId('new').addEventListener('click', () => this.startNew());
    byId('open-sidebar').addEventListener('click', () => this.setOpen(true));
    for (const id of ['close-sidebar', 'shade']) byId(id).addEventListener('click', () => this.setOpen(false));
    byId('search').addEventListener('input', () => this.draw());
    byId('sidebar').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.isOpen()) return;
      event.preventDefault();
      this.setOpen(false);
    });
    this.narrow = window.matchMedia('(max-width: 52rem)');
    this.narrow.addEventListener('change', () => this.setOpen(false));
    this.setOpen(false);
    chat.addEventListener('list', () => this.draw());
    chat.addEventListener('shown', () => this.draw());
  }

  isOpen() {
    return document.body.classList.contains('drawer');
  }

  // What is hidden takes no focus; what is behind the drawer neither.
  setOpen(open) {
    const drawer = this.narrow.matches;
    const had = this.isOpen();
    document.body.classList.toggle('drawer', drawer && open);
    byId('sidebar').inert = drawer && !open;
    document.querySelector('main').inert = drawer && open;
    byId('shade').hidden = !(drawer && open);
    byId('open-sidebar').setAttribute('aria-expanded', String(drawer && open));
    if (drawer && open) byId('close-sidebar').focus();
    else if (had) byId('open-sidebar').focus();
  }

  startNew() {
    this.chat.startNew();
    this.setOpen(false);
    byId('message').focus();
  }

  titles() {
    const sought = byId('search').value.trim().toLowerCase();
    return this.chat.titles.filter(({title}) => title.toLowerCase().includes(sought));
  }

  draw() {
    const titles = this.titles();
    const key = JSON.stringify([titles, this.chat.conversation.id, [...this.chat.answerings.keys()]]);
    if (key === this.drawn) return;
    this.drawn = key;
    const list = byId('titles');
    const focused = list.contains(document.activeElement) ? document.activeElement.closest('li').dataset.id : null;
    list.replaceChildren(...titles.map((one) => this.row(one)));
    if (focused) list.querySelector(`[data-id="${focused}"] button`)?.focus();
    byId('no-titles').hidden = this.chat.titles.length > 0;
    byId('search').hidden = !this.chat.titles.length;
  }

  row({id, title}) {
    const name = title || 'Without a title';
    const shown = id === this.chat.conversation.id;
    const open = async () => {
      await this.chat.open(id);
      this.setOpen(false);
    };
    const rename = async () => {
      const text = await askText('Title of the conversation', title);
      if (text !== null) await this.chat.rename(id, text.slice(0, 200));
    };
    const remove = async () => {
      if (!await ask('Delete this conversation?', `“${name}” cannot be had back.`, 'Delete')) return;
      await this.chat.remove([id]);
      byId(this.narrow.matches ? 'close-sidebar' : 'new').focus();
    };
    const dot = this.chat.isAnswering({id}) &&
        element('span.dot', {role: 'img', 'aria-label': 'is being answered'});
    const current = {title: name, 'aria-current': shown ? 'true' : null};
    return element('li', {'data-id': id, class: shown ? 'shown' : null},
                   element('button.open', {type: 'button', ...current, onclick: open}, dot,
                           element('span', {dir: 'auto'}, name)),
                   iconButton('edit', `Rename ${name}`, rename), iconButton('bin', `Delete ${name}`, remove));
  }

  // The conversation above or below the one that is shown.
  step(by) {
    const titles = this.titles();
    const at = titles.findIndex(({id}) => id === this.chat.conversation.id);
    const next = titles[at < 0 ? (by > 0 ? 0 : titles.length - 1) : at + by];
    if (next) this.chat.open(next.id);
  }
}
