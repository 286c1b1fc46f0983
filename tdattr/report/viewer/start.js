// What the address says is drawn, whenever it changes.
const ARTICLES = new Map([...document.querySelectorAll('.experiment')].map((article) => [article.dataset.slug, article]));
const DRAWERS = {
  queries: (experiment, key, filters) => {
    const query = experiment.queries.find((each) => each.key === key);
    return query ? drawQuery(experiment, query, filters) : drawGrid(experiment, filters);
  },
  items: (experiment, key, filters) => {
    const number = /^t\d+$/.test(key || '') ? Number(key.slice(1)) : -1;
    return experiment.targets[number] ? drawTarget(experiment, number, filters) : drawTargets(experiment, filters);
  },
};

function show(moved) {
  const { experiment, view, key, filters } = readAddress();
  const article = ARTICLES.get(experiment.slug);
  const views = [...article.querySelectorAll('.view')];
  const current = views.find((each) => each.dataset.view === view) || views[0];
  for (const each of ARTICLES.values()) each.classList.toggle('current', each === article);
  for (const each of views) each.classList.toggle('current', each === current);
  for (const link of article.querySelectorAll('.views a')) {
    const mine = link.hash.split('/')[1] === current.dataset.view;
    if (mine) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const picker = document.querySelector('#experiments select');
  if (picker) picker.value = experiment.slug;
  article.classList.toggle('deep', Boolean(key) || ['items', 'run'].includes(current.dataset.view));
  const draw = DRAWERS[current.dataset.view];
  if (draw) redraw(current, draw(experiment, key, filters));
  if (!moved) return;
  window.scrollTo({ top: key ? article.querySelector('.views').offsetTop : Math.min(window.scrollY, article.querySelector('.views').offsetTop) });
  (current.querySelector('h3[tabindex]') || current).focus({ preventScroll: true });
}

// By which a control of the filters is found again: there may be fewer of them than before.
function nameControl(control) {
  return control.type === 'checkbox' ? control.value : control.getAttribute('aria-label') || control.id || control.className;
}

// What was being typed into or was open stays so.
function redraw(view, parts) {
  const focus = view.contains(document.activeElement) ? document.activeElement : null;
  const open = [...view.querySelectorAll('details[data-keep][open]')].map((each) => each.dataset.keep);
  const caret = focus && focus.type === 'search' ? focus.selectionStart : null;
  view.replaceChildren(...parts.flat(3).filter(Boolean));
  for (const each of view.querySelectorAll('details[data-keep]')) each.open = open.includes(each.dataset.keep);
  const again = focus && [...view.querySelectorAll('input, select, button')].find((control) => nameControl(control) === nameControl(focus));
  if (!again) return;
  again.focus({ preventScroll: true });
  if (caret !== null && again.type === 'search') again.setSelectionRange(caret, caret);
}

function chooseExperiment() {
  if (DATA.experiments.length < 2) return;
  document.body.classList.add('several');
  const protocols = new Map();
  for (const experiment of DATA.experiments) {
    const protocol = experiment.protocol || 'no verdict';
    protocols.set(protocol, [...(protocols.get(protocol) || []), experiment]);
  }
  const select = make('select', { 'aria-label': 'Experiment, by protocol', change: () => { location.hash = writeAddress(readAddressOf(select.value), '', ''); } },
    [...protocols].map(([protocol, experiments]) =>
      make('optgroup', { label: protocol }, experiments.map((each) => make('option', { value: each.slug }, each.title)))));
  document.getElementById('experiments').append(make('label', { class: 'field' }, make('span', {}, 'Experiment, by protocol'), select));
}

function readAddressOf(slug) {
  return DATA.experiments.find((each) => each.slug === slug);
}

document.addEventListener('keydown', (event) => {
  const typed = event.key === 'Escape' ? 'input, select, textarea' : 'input, select, textarea, .grid, .scroll, pre';
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest(typed)) return;
  const rel = { ArrowLeft: 'prev', ArrowRight: 'next', Escape: 'up' }[event.key];
  const link = rel && document.querySelector(`.experiment.current .view.current .where a[rel=${rel}]`);
  if (!link) return;
  link.click();
  event.preventDefault();
});
window.addEventListener('hashchange', () => show(true));
for (const experiment of DATA.experiments) prepareTables(ARTICLES.get(experiment.slug), experiment);
if (DATA.experiments.length) {
  chooseExperiment();
  show(false);
}
