// Checks in the manner of axe, of what is shown now: names, roles, order of headings, ids, contrast, size of targets.
// The body of a function: its arguments are {targets: least size of what is pressed, 0: not looked at}. Returns lines.
const [options] = arguments;
const faults = [];

const isShown = (one) => one.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: false}) &&
    !one.closest('[inert]') && !one.closest('[aria-hidden="true"]');
const describe = (one) => `${one.localName}${one.id ? `#${one.id}` : ''}${one.className && typeof one.className === 'string' ? `.${one.className.split(' ').join('.')}` : ''} "${(one.textContent ?? '').trim().slice(0, 30)}"`;
const byIds = (ids) => (ids ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ').trim();

// What a screen reader calls it (accname 1.2, as far as this page goes).
function nameOf(one) {
  const labels = one.labels?.length ? [...one.labels].map((label) => label.textContent).join(' ').trim() : '';
  return byIds(one.getAttribute('aria-labelledby')) || one.getAttribute('aria-label')?.trim() || labels ||
      (one.matches('button, a, summary, h1, h2, h3, [role="heading"]') ? one.innerText.trim() : '') || one.title || '';
}

// Whatever is modal hides the rest.
const root = document.querySelector('dialog[open]') ?? document.body;
const shown = [...root.querySelectorAll('*')].filter(isShown);
if (root !== document.body) shown.unshift(root);

for (const one of shown) {
  if (one.matches('button, a, input, textarea, select, summary, meter, progress, dialog, nav, [role="region"], [role="log"], [tabindex="0"]') && !nameOf(one))
    faults.push(`no name: ${describe(one)}`);
  if (one.matches('img') && !one.hasAttribute('alt')) faults.push(`no alt: ${describe(one)}`);
  if (one.matches('[aria-labelledby]') && !byIds(one.getAttribute('aria-labelledby'))) faults.push(`labelled by nothing: ${describe(one)}`);
  if (one.matches('label[for]') && !document.getElementById(one.htmlFor)) faults.push(`a label of nothing: ${describe(one)}`);
  if (one.matches('[tabindex]') && one.tabIndex > 0) faults.push(`out of order: ${describe(one)}`);
  if (one.matches('button button, a button, button a, a a, summary button')) faults.push(`a control within a control: ${describe(one)}`);
  if (one.matches('li') && !one.parentElement.matches('ul, ol')) faults.push(`an item of no list: ${describe(one)}`);
  if (one.matches('th') && !one.hasAttribute('scope')) faults.push(`a heading of what: ${describe(one)}`);
}

if (!document.documentElement.lang) faults.push('no language');
if (!document.title) faults.push('no title');
for (const name of ['main', 'nav', 'header'])
  if (document.querySelectorAll(name).length !== 1) faults.push(`expected one ${name}`);
const ids = [...document.querySelectorAll('[id]')].map(({id}) => id);
for (const id of ids.filter((id, i) => ids.indexOf(id) !== i)) faults.push(`an id twice: ${id}`);

let level = root === document.body ? 0 : 1;
for (const one of shown.filter((one) => one.matches('h1, h2, h3, h4, h5, h6, [role="heading"]'))) {
  const its = Number(one.getAttribute('aria-level') ?? one.localName[1]);
  // A model writes its headings as it likes: only those of the page are in order.
  if (one.closest('.prose')) continue;
  if (its > level + 1) faults.push(`from heading ${level} to ${its}: ${describe(one)}`);
  level = its;
}

// --- Contrast (WCAG 2.2, 1.4.3 and 1.4.11).

const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
function rgba(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
function groundOf(one) {
  const layers = [];
  for (let at = one; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
}
function luminance(color) {
  const [r, g, b] = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a, b) {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}
function opacityOf(one) {
  let all = 1;
  for (let at = one; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
  return all;
}

for (const one of shown) {
  const words = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) || one.matches('input, textarea');
  if (one.matches('.visually-hidden, .visually-hidden *, .skip') || one.closest(':disabled')) continue;
  const style = getComputedStyle(one);
  const ground = groundOf(one);
  if (words) {
    const color = rgba(one.matches('input, textarea') && !one.value ? getComputedStyle(one, '::placeholder').color : style.color);
    color[3] *= opacityOf(one);
    const found = contrast(over(color, ground), ground);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (found < (large ? 3 : 4.5)) faults.push(`contrast ${found.toFixed(2)}: ${describe(one)}`);
  }
  if (one.matches('svg.icon')) {
    const found = contrast(over(rgba(style.color), ground), ground);
    if (found < 3) faults.push(`contrast of an icon ${found.toFixed(2)}: ${describe(one.parentElement)}`);
  }
  if (one.matches('input:not([type="checkbox"]), dialog textarea')) {
    const found = contrast(over(rgba(style.borderTopColor), ground), groundOf(one.parentElement));
    if (found < 3) faults.push(`contrast of an edge ${found.toFixed(2)}: ${describe(one)}`);
  }
}

// --- Targets (WCAG 2.2, 2.5.5), but for links within a text.

if (options?.targets) {
  for (const one of shown.filter((one) => one.matches('button, summary, input, textarea'))) {
    const {width, height} = (one.closest('label') ?? one).getBoundingClientRect();
    if (Math.min(width, height) < options.targets && !one.matches('input[type="checkbox"]'))
      faults.push(`a target of ${width.toFixed(0)} by ${height.toFixed(0)}: ${describe(one)}`);
  }
  if (document.documentElement.scrollWidth > window.innerWidth) faults.push(`wider than the window: ${document.documentElement.scrollWidth}`);
}
return faults;
