// The box in which messages are written, with the files that go with them.

import {announce, byId, element, icon, iconButton} from './dom.js';
import {count} from './numbers.js';
import {readTextFile} from './attach.js';
import {pathTo} from './conversations.js';

export class Composer {
  // complain(text): tells the user what went wrong
  constructor(chat, settings, complain) {
    Object.assign(this, {chat, settings, complain});
    this.area = byId('message');
    this.files = [];
    byId('send').append(icon('send'));
    byId('stop').append(icon('stop'));
    byId('attach').append(icon('clip'));
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.send();
    });
    this.area.addEventListener('keydown', (event) => this.key(event));
    this.area.addEventListener('input', () => this.fit());
    byId('stop').addEventListener('click', () => this.stop());
    byId('attach').addEventListener('click', () => byId('file').click());
    byId('file').addEventListener('change', ({target}) => {
      this.attach([...target.files]);
      target.value = '';
    });
    byId('think').addEventListener('click', () => this.toggleThinking());
    this.takeDropped();
    chat.addEventListener('shown', () => this.draw());
    this.draw();
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === 'ArrowUp' && !this.area.value) {
      const last = pathTo(this.chat.conversation).filter((node) => node.role === 'user').pop();
      if (!last) return;
      event.preventDefault();
      document.querySelector(`[data-id="${last.id}"] [aria-label="Edit message"]`)?.click();
    }
  }

  send() {
    const text = this.area.value;
    if ((!text.trim() && !this.files.length) || this.chat.isAnswering()) return;
    const files = this.files;
    this.files = [];
    this.area.value = '';
    this.fit();
    this.drawFiles();
    announce('Sent');
    this.chat.send(text, files);
  }

  stop() {
    if (!this.chat.isAnswering()) return;
    this.chat.stop();
    this.area.focus();
  }

  draw() {
    const answering = this.chat.isAnswering();
    byId('send').hidden = answering;
    byId('stop').hidden = !answering;
    if (!answering) byId('doing').textContent = '';
  }

  fit() {
    this.area.style.height = 'auto';
    this.area.style.height = `${Math.min(this.area.scrollHeight, window.innerHeight * 0.4)}px`;
  }

  // --- Files.

  async attach(files) {
    for (const file of files) {
      try {
        this.files.push(await readTextFile(file));
        announce(`${file.name} attached`);
      } catch (error) {
        this.complain(error.message);
      }
    }
    this.drawFiles();
    this.area.focus();
  }

  drawFiles() {
    byId('files').replaceChildren(...this.files.map((file, i) => element('li', {}, icon('file'),
        element('span', {}, file.name), element('span.faint', {}, `${count(file.text.length)} characters`),
        iconButton('close', `Remove ${file.name}`, () => {
          this.files.splice(i, 1);
          this.drawFiles();
          this.area.focus();
        }))));
  }

  takeDropped() {
    document.addEventListener('dragover', (event) => event.preventDefault());
    document.addEventListener('drop', (event) => {
      event.preventDefault();
      this.attach([...event.dataTransfer.files]);
    });
    this.area.addEventListener('paste', (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      this.attach([...event.clipboardData.files]);
    });
  }

  // --- Thinking, where the model has a switch: as it is by itself, always, never.

  setThinking(canSwitch) {
    byId('think').hidden = !canSwitch;
    this.drawThinking();
  }

  toggleThinking() {
    const next = new Map([[null, true], [true, false], [false, null]]).get(this.settings.values.think);
    this.settings.set({think: next});
    this.drawThinking();
    announce(byId('think').textContent);
  }

  drawThinking() {
    const {think} = this.settings.values;
    byId('think').textContent = `Thinking: ${think === null ? 'auto' : think ? 'on' : 'off'}`;
    byId('think').setAttribute('aria-pressed', think === null ? 'mixed' : String(think));
  }
}
