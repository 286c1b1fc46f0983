// Elements. Text from the data is only ever set as text, never as markup.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (name === 'style') for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set); // also --variables
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(2).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

function makeSelect(label, options, chosen, change) {
  const select = make(
    'select',
    { 'aria-label': label, change: () => change(select.value) },
    options.map(([value, words]) => make('option', { value, selected: value === chosen }, words)),
  );
  return make('label', { class: 'field' }, make('span', {}, label), select);
}

function showNumber(value) {
  if (value === undefined || value === null) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(1).replace('-', '−').replace('e-', 'e−');
  return String(Number(value.toPrecision(3))).replace('-', '−');
}

function count(number, noun) {
  return `${number} ${noun === 'query' && number !== 1 ? 'querie' : noun}${number === 1 ? '' : 's'}`;
}

// Adds what `draw` makes of the entries as one scrolls near them.
const BATCH = 60;
function fill(list, entries, draw) {
  let next = 0;
  const sentinel = make(list.tagName === 'TBODY' ? 'tr' : 'li', { class: 'sentinel', 'aria-hidden': 'true' });
  const more = () => {
    sentinel.remove();
    list.append(...entries.slice(next, next + BATCH).map(draw));
    next += BATCH;
    if (next < entries.length) {
      list.append(sentinel);
      observer.observe(sentinel);
    } else observer.disconnect();
  };
  const observer = new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting)) {
      observer.unobserve(sentinel);
      more();
    }
  }, { rootMargin: '600px' });
  more();
}
