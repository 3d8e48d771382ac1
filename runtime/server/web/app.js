// The page: puts its parts together.

import {announce, byId, icon} from './dom.js';
import {Chat} from './chat.js';
import {Composer} from './composer.js';
import {Connection} from './connection.js';
import {ConversationView} from './conversation_view.js';
import {GaugesDialog} from './gauges_dialog.js';
import {KeyDialog} from './key_dialog.js';
import {Keys, Settings} from './settings.js';
import {Server} from './server.js';
import {SettingsDialog} from './settings_dialog.js';
import {Sidebar} from './sidebar.js';
import {Storage} from './storage.js';
import {listenForKeys, openKeys} from './shortcuts.js';
import {count, percent} from './numbers.js';
import {pathTo} from './conversations.js';

const settings = new Settings(), keys = new Keys();
const server = new Server(keys);
const connection = new Connection(server);
const storage = new Storage((id) => chat.changedElsewhere(id));
const chat = new Chat({server, connection, storage, settings});
const view = new ConversationView(chat);
const composer = new Composer(chat, settings, complain);
const sidebar = new Sidebar(chat);
const settingsDialog = new SettingsDialog({chat, settings, keys, connection});
const gaugesDialog = new GaugesDialog({server, connection});
new KeyDialog({keys, connection});

// --- Notices.

function complain(text) {
  byId('trouble').textContent = text;
  byId('trouble').hidden = !text;
}

function drawConnection() {
  const {state, progress, properties} = connection;
  const words = {
    loading: `The model is loading: ${percent(progress)}. What you send waits for it.`,
    gone: 'The server does not answer. What you send waits for it.',
    key: 'This server asks for a key: it is in the settings.',
  }[state];
  byId('loading').hidden = !words;
  byId('loading').firstElementChild.textContent = words ?? '';
  byId('loading').querySelector('progress').hidden = state !== 'loading';
  byId('loading').querySelector('progress').value = progress;
  byId('model').textContent = properties?.model_alias ?? '';
  composer.setThinking(Boolean(properties?.can_switch_thinking));
  drawContext();
}

// What the last answer left of the context.
function drawContext() {
  const all = connection.properties?.default_generation_settings?.n_ctx ?? 0;
  const usage = pathTo(chat.conversation).filter((node) => node.usage?.prompt).pop()?.usage;
  byId('context').hidden = !all || !usage;
  if (!all || !usage) return;
  const used = Math.min(usage.prompt + usage.said, all);
  byId('context').firstElementChild.textContent = `${count(all - used)} tokens left`;
  byId('context').title = `of a context of ${count(all)} tokens`;
  byId('context').querySelector('meter').value = used / all;
}

function drawTitle() {
  const title = chat.conversation.title || 'New conversation';
  byId('title').textContent = title;
  document.title = `${title} · hearth`;
}

// --- Light and dark.

const prefersDark = window.matchMedia('(prefers-color-scheme: dark)');

function isDark() {
  const {theme} = settings.values;
  return theme === 'dark' || (theme === 'auto' && prefersDark.matches);
}

function drawTheme() {
  const {theme} = settings.values;
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const dark = isDark();
  const label = dark ? 'To the light theme' : 'To the dark theme';
  byId('theme').setAttribute('aria-label', label);
  byId('theme').title = label;
  byId('theme').replaceChildren(icon(dark ? 'sun' : 'moon'));
}

function switchTheme() {
  const chosen = isDark() ? 'light' : 'dark';
  // What the system has is followed again as soon as it is the same.
  settings.set({theme: (chosen === 'dark') === prefersDark.matches ? 'auto' : chosen});
  drawTheme();
}

// --- All together.

const startNew = () => sidebar.startNew();
const openSettings = () => settingsDialog.open();
const openGauges = () => gaugesDialog.open();

for (const [id, name] of [['to-end', 'down'], ['open-gauges', 'gauge'], ['open-settings', 'gear']])
  byId(id).append(icon(name));
byId('theme').addEventListener('click', switchTheme);
byId('open-settings').addEventListener('click', openSettings);
byId('open-gauges').addEventListener('click', openGauges);
byId('open-keys').addEventListener('click', openKeys);
prefersDark.addEventListener('change', drawTheme);
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();  // the address says which conversation is shown
  byId('message').focus();
});
window.addEventListener('storage', () => {  // another tab chose
  settings.read();
  drawTheme();
  composer.drawThinking();
});
listenForKeys({
  stop: () => composer.stop(), step: (by) => sidebar.step(by), startNew, settings: openSettings, gauges: openGauges,
});

connection.addEventListener('change', drawConnection);
chat.addEventListener('trouble', ({detail}) => complain(detail));
chat.addEventListener('grown', drawContext);
chat.addEventListener('shown', () => {
  drawTitle();
  drawContext();
  // Which conversation a reload shows.
  history.replaceState(null, '', chat.conversation.leaf ? `#${chat.conversation.id}` : location.pathname);
});
chat.addEventListener('ended', ({detail: {node}}) => {
  announce(node.error ? `The answer failed: ${node.error}` : `Answer complete: ${node.content.slice(0, 200)}`);
});
chat.addEventListener('keeping', ({detail}) => { document.documentElement.dataset.keeping = detail; });  // for tests
window.addEventListener('hashchange', () => chat.open(location.hash.slice(1)));
window.addEventListener('pagehide', () => {
  for (const {conversation} of chat.answerings.values()) chat.save(conversation);
});

drawTheme();
drawTitle();
const looked = connection.look();
await chat.refreshList();
if (location.hash) await chat.open(location.hash.slice(1));
view.draw();
byId('message').focus();
await looked;
document.documentElement.dataset.ready = 'true';  // for tests
