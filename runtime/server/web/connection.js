// Whether there is a server, a model, and a key for it: looked at until all of that is so, and again when something
// goes wrong.

import {ServerError} from './server.js';

const kLoading = 500, kGone = 2000;  // milliseconds between looks

export class Connection extends EventTarget {
  // state: 'asking' | 'loading' | 'key' (the server wants one) | 'gone' | 'ready'; each change is an event `change`
  constructor(server) {
    super();
    this.server = server;
    this.state = 'asking';
    this.progress = 0;       // of loading, 0 to 1
    this.properties = null;  // /props, once it was ready
    this.refused = '';       // why the key is wanted
    this.looking = null;
  }

  // One look at a time; further ones follow by themselves until it is ready or a key is wanted.
  look() {
    clearTimeout(this.timer);
    this.looking ??= this.lookOnce().finally(() => {
      this.looking = null;
      const pause = {loading: kLoading, gone: kGone}[this.state];
      if (pause) this.timer = setTimeout(() => this.look(), pause);
    });
    return this.looking;
  }

  async lookOnce() {
    try {
      const {ready, progress} = await this.server.status();
      if (!ready) return this.become('loading', {progress});
      this.become('ready', {properties: await this.server.properties(), progress: 1});
    } catch (error) {
      this.failed(error);
    }
  }

  // What a request's failure says of the server.
  failed(error) {
    if (!(error instanceof ServerError)) return;
    if (error.status === 401) this.become('key', {refused: error.message});
    else if (error.code === 'model_loading') this.become('loading', {});
    else if (error.status === 0) this.become('gone', {});
    if (this.state !== 'ready' && this.state !== 'key' && !this.looking) this.look();
  }

  become(state, more) {
    Object.assign(this, more, {state});
    this.dispatchEvent(new Event('change'));
  }

  // Until it is ready. Rejects with an AbortError when `signal` says so.
  whenReady(signal) {
    return new Promise((resolve, reject) => {
      const over = (act) => {
        this.removeEventListener('change', changed);
        signal.removeEventListener('abort', aborted);
        act();
      };
      const changed = () => this.state === 'ready' && over(resolve);
      const aborted = () => over(() => reject(new DOMException('stopped', 'AbortError')));
      this.addEventListener('change', changed);
      signal.addEventListener('abort', aborted);
      if (signal.aborted) aborted();
      else changed();
    });
  }
}
