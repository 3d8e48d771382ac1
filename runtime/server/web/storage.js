// Where conversations live: IndexedDB of this browser, two tables, so that the list of titles is read without the
// conversations. Tabs tell each other what has changed.

import {merged} from './conversations.js';

// message: one line for people
export class StorageError extends Error {}

const kFull = 'The browser has no room left for conversations: export and delete some. Until then nothing is kept.';
const kGone = 'This conversation was deleted in another tab; it is not kept.';

function words(error) {
  if (error?.name === 'QuotaExceededError') return kFull;
  return `The browser does not keep conversations: ${error?.message ?? 'no reason given'}`;
}

function done(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(new StorageError(words(transaction.error)));
  });
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new StorageError(words(request.error)));
  });
}

function open(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('conversations', {keyPath: 'id'});
      request.result.createObjectStore('titles', {keyPath: 'id'});
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new StorageError(words(request.error)));
    request.onblocked = () => reject(new StorageError('Another tab holds an older version of this page: close it.'));
  });
}

export class Storage {
  // changed(id): another tab has written or deleted this conversation; null: many of them
  constructor(changed, name = 'hearth') {
    this.name = name;
    this.database = null;
    this.kept = new Set();  // of whose being there this tab knows
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({data}) => changed(data?.id ?? null);
  }

  async transaction(mode) {
    try {
      this.database ??= await open(this.name);
      return this.database.transaction(['conversations', 'titles'], mode);
    } catch (error) {
      throw error instanceof StorageError ? error : new StorageError(words(error));
    }
  }

  // [{id, title, changed}], the youngest first
  async list() {
    const transaction = await this.transaction('readonly');
    const titles = await result(transaction.objectStore('titles').getAll());
    for (const {id} of titles) this.kept.add(id);
    return titles.sort((a, b) => b.changed - a.changed);
  }

  // undefined: there is none
  async get(id) {
    const transaction = await this.transaction('readonly');
    const found = await result(transaction.objectStore('conversations').get(id));
    if (found) this.kept.add(id);
    return found;
  }

  async all() {
    const transaction = await this.transaction('readonly');
    return result(transaction.objectStore('conversations').getAll());
  }

  // Writes it together with what other tabs have added. Returns that, or `conversation` itself where they have not.
  // Throws StorageError; also for one that another tab has deleted, which does not come back unless it is to (`anew`).
  async put(conversation, {anew = false} = {}) {
    const transaction = await this.transaction('readwrite');
    const over = done(transaction);
    let whole = conversation, gone = false;
    const store = transaction.objectStore('conversations');
    store.get(conversation.id).onsuccess = ({target: {result: old}}) => {
      gone = !anew && !old && this.kept.has(conversation.id);
      if (gone) return;
      if (old) whole = merged(conversation, old);
      const {id, title, changed} = whole;
      store.put(whole);
      transaction.objectStore('titles').put({id, title, changed});
    };
    await over;
    if (gone) throw new StorageError(kGone);
    this.kept.add(conversation.id);
    this.tell(conversation.id);
    return whole;
  }

  async remove(ids) {
    const transaction = await this.transaction('readwrite');
    const over = done(transaction);
    for (const id of ids) {
      transaction.objectStore('conversations').delete(id);
      transaction.objectStore('titles').delete(id);
    }
    await over;
    for (const id of ids) this.tell(id);
  }

  tell(id) {
    this.channel.postMessage({id});
  }
}
