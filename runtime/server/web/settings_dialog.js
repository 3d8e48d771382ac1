// The system prompt, sampling, functions, the key, and conversations out of and into files.

import {byId, dialogHead, element} from './dom.js';
import {BadFile, exported, imported, kMostImported} from './checked.js';
import {ask} from './question.js';
import {bytes} from './numbers.js';
import {kSampling, parseTools} from './settings.js';

export class SettingsDialog {
  constructor({chat, settings, keys, connection}) {
    Object.assign(this, {chat, settings, keys, connection});
    this.dialog = byId('settings');
  }

  open() {
    this.error = element('p.state.bad', {role: 'alert', hidden: true});
    this.form = element('form', {method: 'dialog'},
        dialogHead(this.dialog, 'Settings'),
        this.systemPart(), this.samplingPart(), this.toolsPart(), this.keyPart(), this.filesPart(), this.error,
        element('div.bar.end', {}, element('button.primary', {type: 'submit'}, 'Keep')));
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.keep();
    });
    this.dialog.replaceChildren(this.form);
    this.dialog.showModal();
  }

  systemPart() {
    this.system = element('textarea', {id: 'system', rows: 4});
    this.system.value = this.chat.conversation.system;
    this.systemForNew = element('input', {type: 'checkbox'});
    this.systemForNew.checked = this.settings.values.system === this.chat.conversation.system;
    return element('fieldset', {}, element('legend', {}, 'System prompt'),
                   element('label', {for: 'system'}, 'What the model is told before this conversation'), this.system,
                   element('label.check', {}, this.systemForNew, 'New conversations begin with it, too'));
  }

  samplingPart() {
    const told = this.connection.properties?.default_generation_settings?.params ?? {};
    this.fields = kSampling.map(({name, label, low, high, step}) => {
      const own = name === 'seed' ? 'random' : name === 'max_tokens' ? 'no limit' : told[name] ?? 'the server’s';
      const placeholder = typeof own === 'number' ? +own.toPrecision(4) : own;
      const id = `s-${name}`;
      const field = element('input', {id, type: 'number', min: low, max: high, step: 'any', placeholder});
      field.value = this.settings.values.sampling[name] ?? '';
      const part = element('div.field', {}, element('label', {for: id}, label), field);
      return {name, field, part, whole: step === 1};
    });
    return element('fieldset', {}, element('legend', {}, 'Sampling'),
                   element('p.faint', {}, 'What is left empty is as the server has it.'),
                   element('div.fields', {}, this.fields.map(({part}) => part)));
  }

  toolsPart() {
    const placeholder = '[{"name": "get_weather", "parameters": {...}}]';
    this.tools = element('textarea', {id: 'tools', rows: 3, spellcheck: 'false', placeholder});
    this.tools.value = this.settings.values.tools;
    const label = 'Functions that the model may call, as JSON; what they return, you say';
    return element('details', {}, element('summary', {}, 'Functions'), element('label', {for: 'tools'}, label),
                   this.tools);
  }

  keyPart() {
    this.key = element('input', {id: 'api-key', type: 'password', autocomplete: 'off'});
    this.key.value = this.keys.get();
    const label = 'The key that the server asks for, kept in this browser';
    return element('details', {}, element('summary', {}, 'Key'), element('label', {for: 'api-key'}, label), this.key);
  }

  filesPart() {
    const file = element('input', {
      type: 'file', accept: '.json,application/json', hidden: true, 'aria-label': 'File of conversations', tabindex: -1,
      onchange: ({target}) => this.import(target),
    });
    const button = (text, onclick) => element('button', {type: 'button', onclick}, text);
    this.told = element('p.faint', {role: 'status'});
    return element('fieldset', {}, element('legend', {}, 'Conversations'),
                   element('p.faint', {}, 'They are kept in this browser and nowhere else.'),
                   element('div.bar', {}, button('Export all', () => this.exportAll()),
                           button('Import', () => file.click()), button('Delete all', () => this.removeAll()), file),
                   this.told);
  }

  keep() {
    try {
      const sampling = {};
      for (const {name, field, whole} of this.fields) {
        if (!field.checkValidity() || (whole && field.value && !Number.isInteger(field.valueAsNumber))) {
          const kind = whole ? 'whole number' : 'number';
          throw new Error(`${field.labels[0].textContent}: expected a ${kind} from ${field.min} to ${field.max}.`);
        }
        if (field.value) sampling[name] = field.valueAsNumber;
      }
      if (this.tools.value.trim()) parseTools(this.tools.value);
      const system = this.systemForNew.checked ? this.system.value : this.settings.values.system;
      this.keepKey();
      this.chat.setSystem(this.system.value);
      const trouble = this.settings.set({sampling, tools: this.tools.value, system});
      if (trouble) throw new Error(trouble);
    } catch (error) {
      this.error.textContent = error.message;
      this.error.hidden = false;
      return;
    }
    this.dialog.close();
  }

  keepKey() {
    const key = this.key.value.trim();
    if (key === this.keys.get()) return;
    this.keys.set(key);
    this.connection.look();
  }

  async exportAll() {
    const conversations = await this.chat.attempt(() => this.chat.storage.all());
    if (!conversations) return;
    const link = element('a', {download: `hearth-${new Date().toISOString().slice(0, 10)}.json`});
    link.href = URL.createObjectURL(new Blob([exported(conversations)], {type: 'application/json'}));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    this.told.textContent = `${conversations.length} exported.`;
  }

  async import(input) {
    const [file] = input.files;
    input.value = '';
    try {
      if (file.size > kMostImported)
        throw new BadFile(`${file.name}: expected at most ${bytes(kMostImported)}, found ${bytes(file.size)}.`);
      const conversations = imported(await file.text());
      const kept = await this.chat.keepAll(conversations);
      this.told.textContent = kept ? `${conversations.length} imported.` : this.chat.trouble;
    } catch (error) {
      if (!(error instanceof BadFile)) throw error;
      this.told.textContent = error.message;
    }
  }

  async removeAll() {
    const ids = this.chat.titles.map(({id}) => id);
    if (!ids.length) return;
    if (!await ask('Delete all conversations?', `${ids.length} of them cannot be had back.`, 'Delete all')) return;
    await this.chat.remove(ids);
    this.told.textContent = `${ids.length} deleted.`;
  }
}
