// The data of the page, and what the address says is looked at: #EXPERIMENT/VIEW/KEY?filters
const DATA = JSON.parse(document.getElementById('data').textContent);
const TOP = 8;
const Z95 = 1.96; // standard errors in half of a 95 % interval

for (const experiment of DATA.experiments) {
  experiment.queries.forEach((query, number) => {
    query.number = number;
    query.key = `s${query.seed}q${query.index}`;
  });
  (experiment.targets || []).forEach((target, number) => { target.number = number; });
}

function readAddress() {
  const [path, filters] = location.hash.slice(1).split(/\?(.*)/s);
  const [slug, view, key] = path.split('/').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  const experiment = DATA.experiments.find((each) => each.slug === slug) || DATA.experiments[0];
  return { experiment, view, key, filters: new URLSearchParams(filters || '') };
}

function writeAddress(experiment, view, key, filters) {
  const path = [experiment.slug, view, key].filter(Boolean).map(encodeURIComponent).join('/');
  const said = String(filters || '');
  return `#${path}${said ? `?${said}` : ''}`;
}

// Filters change the address without a step for the back button, and what is shown with it.
function setFilter(name, value) {
  const { experiment, view, key, filters } = readAddress();
  filters.delete(name);
  for (const one of [].concat(value)) if (one !== '' && one !== null) filters.append(name, one);
  history.replaceState(null, '', writeAddress(experiment, view, key, filters));
  show(false);
}

// The methods that are looked at: [number, method].
function listMethods(experiment, filters) {
  const chosen = filters.getAll('method');
  const all = [...experiment.methods.entries()];
  const kept = all.filter(([, method]) => chosen.includes(method.name));
  return kept.length ? kept : all;
}

function listSeeds(experiment) {
  return [...new Set(experiment.queries.map((query) => query.seed))];
}

function listGroups(experiment) {
  return [...new Set(experiment.queries.map((query) => query.group).filter((name) => name !== undefined))].sort();
}

// The groups of the items that are named.
function listOwners(experiment) {
  return [...new Set(experiment.targets.map((target) => target.group).filter((name) => name !== undefined))].sort();
}

function measuresOf(experiment) {
  const names = new Set();
  for (const query of experiment.queries) {
    for (const named of Object.values(query.named)) {
      for (const [name, value] of Object.entries(named.verdict)) {
        if (typeof value === 'number' && !name.endsWith('_random') && name !== 'outcome') names.add(name);
      }
    }
  }
  return [...names];
}

// What the queries can be sorted by: [key, words, value of a query].
function listOrders(experiment, filters) {
  const orders = [
    ['', 'seed and number', (query) => query.number],
    ['caption', 'caption', (query) => query.caption],
  ];
  if (listGroups(experiment).length) orders.push(['group', 'group', (query) => query.group]);
  for (const measure of experiment.measures) {
    for (const [number, method] of listMethods(experiment, filters)) {
      const read = (query) => query.named[number] && query.named[number].verdict[measure];
      orders.push([`${number}:${measure}`, `${method.name}: ${measure}`, read]);
    }
  }
  for (const [number, method] of listMethods(experiment, filters)) {
    const read = (query) => query.named[number] && query.named[number].top[0] && query.named[number].top[0][1];
    orders.push([`${number}:score`, `${method.name}: highest score`, read]);
  }
  return orders;
}

// What is not known comes last, whether the order goes up or down.
function compare(first, second, down) {
  const missing = (value) => value === undefined || value === null || value !== value;
  if (missing(first) || missing(second)) return missing(first) - missing(second);
  const order = typeof first === 'number' && typeof second === 'number' ? first - second : String(first).localeCompare(String(second));
  return down ? -order : order;
}

// What the queries can be filtered by: [key, words, whether a query is kept].
const UNLIKELY = 'the model can hardly have made it';
function listOutcomes(experiment, filters) {
  const kinds = [];
  for (const [number, method] of experiment.outcomes ? listMethods(experiment, filters) : []) {
    experiment.outcomes.forEach((words, index) => {
      const wanted = 1 - index;
      const holds = (query) => Boolean(query.named[number]) && query.named[number].verdict.outcome === wanted;
      if (experiment.queries.some(holds)) kinds.push([`${number}:${wanted}`, `${method.name}: ${words}`, holds]);
    });
  }
  if (experiment.queries.some((query) => query.unlikely)) kinds.push(['unlikely', UNLIKELY, (query) => Boolean(query.unlikely)]);
  return kinds;
}

// Whether the filters keep a query, whatever its caption.
function makeKeeper(experiment, filters) {
  const [seed, group] = ['seed', 'group'].map((name) => filters.get(name));
  const outcome = listOutcomes(experiment, filters).find(([key]) => key === filters.get('verdict'));
  return (query) =>
    (!seed || String(query.seed) === seed) && (group === null || query.group === group) && (!outcome || outcome[2](query));
}

// The queries that the filters leave, in their order.
function selectQueries(experiment, filters) {
  const parts = (filters.get('search') || '').toLowerCase().split(/\s+/).filter(Boolean);
  const methods = filters.getAll('method').length ? listMethods(experiment, filters) : [];
  const keeps = makeKeeper(experiment, filters);
  const kept = experiment.queries.filter(
    (query) =>
      keeps(query) &&
      parts.every((part) => `${query.caption} ${query.group || ''}`.toLowerCase().includes(part)) &&
      (!methods.length || methods.some(([number]) => query.named[number])),
  );
  const orders = listOrders(experiment, filters);
  const [, , read] = orders.find(([key]) => key === (filters.get('sort') || '')) || orders[0];
  return kept.sort((a, b) => compare(read(a), read(b), filters.get('down')) || a.number - b.number);
}

for (const experiment of DATA.experiments) experiment.measures = measuresOf(experiment);
