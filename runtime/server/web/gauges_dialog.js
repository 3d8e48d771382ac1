// What the machine does: where the weights lie, what its caches spare, how fast it is. Asked for while it is shown.

import {byId, dialogHead, element} from './dom.js';
import {bytes, count, percent, speed} from './numbers.js';
import {gaugesOf, parseMetrics} from './metrics.js';

const kBetween = 1500;  // milliseconds

export class GaugesDialog {
  constructor({server, connection}) {
    Object.assign(this, {server, connection});
    this.dialog = byId('gauges');
    this.dialog.addEventListener('close', () => clearTimeout(this.timer));
  }

  open() {
    this.box = element('div.gauges');
    this.dialog.replaceChildren(dialogHead(this.dialog, 'Gauges'), this.box);
    this.dialog.showModal();
    this.refresh();
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      const gauges = gaugesOf(parseMetrics(await this.server.metrics()));
      this.box.replaceChildren(...placementGauges(this.connection.properties?.placement), ...rows(gauges));
    } catch (error) {
      this.box.replaceChildren(element('p.state.bad', {}, error.message));
      this.connection.failed(error);
    }
    if (this.dialog.open) this.timer = setTimeout(() => this.refresh(), kBetween);
  }
}

function placementGauges(placement) {
  if (!placement) return [];
  const parts = [
    ['In the GPU’s memory', placement.gpu_bytes], ['In memory', placement.memory_bytes],
    ['In the file, on disk', placement.disk_bytes],
  ];
  const all = parts.reduce((sum, [, n]) => sum + n, 0);
  const shown = parts.filter(([, n]) => n > 0);
  return [
    element('h3', {}, 'Placement of the weights'),
    ...shown.map(([where, n]) => gauge(where, n / all, bytes(n))),
    element('p.faint', {}, placement.gpu || 'No GPU: the processor computes.'),
  ];
}

function rows(g) {
  return [
    element('h3', {}, 'Caches'),
    g.expertHits === null ? fact('Expert cache', 'all experts are in one memory')
                          : gauge('Expert cache: found on the GPU', g.expertHits),
    g.prefixReuse === null ? fact('Prefix reuse', 'no prompt yet')
                           : gauge('Prefix reuse: tokens of prompts not read again', g.prefixReuse),
    g.cacheUsed === null ? fact('Context memory', 'none yet')
                         : gauge(`Context memory in use, of ${count(g.cachePositions)} tokens`, g.cacheUsed),
    element('h3', {}, 'Work'),
    gauge('Conversations running', g.mostRunning ? g.running / g.mostRunning : 0, `${g.running} of ${g.mostRunning}`),
    fact('Waiting', count(g.waiting)),
    fact('Reading, on average', speed(g.prefillSpeed)),
    fact('Writing, all together', speed(g.decodeSpeed)),
  ];
}

function gauge(label, share, text = percent(share)) {
  const meter = element('meter', {min: 0, max: 1, 'aria-label': `${label}: ${text}`});
  meter.value = share;
  return element('div.gauge', {}, element('span', {}, label), element('span.value', {}, text), meter);
}

const fact = (label, text) => element('div.gauge', {}, element('span', {}, label), element('span.value', {}, text));
