// Training items and groups: which queries name them, what is named everywhere, and how far methods agree.
function gatherTargets(experiment, filters) {
  const seed = filters.get('seed');
  const chosen = listMethods(experiment, filters);
  const claiming = chosen.filter(([, method]) => method.base !== 'random'); // nothing is claimed for what is drawn
  const methods = claiming.length ? claiming : chosen;
  const found = new Map(experiment.targets.map((_, number) => [number, []]));
  let asked = 0;
  for (const query of experiment.queries) {
    if (seed && String(query.seed) !== seed) continue;
    asked += 1;
    for (const [number, method] of methods) {
      const named = query.named[number];
      if (!named) continue;
      const lists = method.kind === 'items' && named.groups ? [named.top, named.groups] : [named.groups || named.top];
      for (const list of lists) list.forEach(([target, score, error], rank) => found.get(target).push({ query, method, rank, score, error }));
    }
  }
  return { asked, found, methods };
}

// Of a group only a first rank says something: there are few of them.
function isNamed(target, entry) {
  return entry.rank < (target.kind === 'group' ? 1 : TOP);
}

function drawTargets(experiment, filters) {
  const { asked, found, methods } = gatherTargets(experiment, filters);
  const words = (filters.get('search') || '').toLowerCase().split(/\s+/).filter(Boolean);
  const owner = filters.get('owner');
  const rows = experiment.targets
    .map((target, number) => {
      const named = found.get(number).filter((entry) => isNamed(target, entry));
      const queries = new Set(named.map((entry) => entry.query.number));
      const by = methods.map(([, method]) => named.filter((entry) => entry.method === method).length);
      return { target, number, queries: queries.size, by, best: Math.min(...named.map((entry) => entry.rank + 1)) };
    })
    .filter((row) => row.queries && (owner === null || row.target.group === owner) && words.every((word) => `${row.target.label} ${row.target.group || ''}`.toLowerCase().includes(word)));
  const kinds = [['item', 'Training items'], ['group', 'Groups']].filter(([kind]) => rows.some((row) => row.target.kind === kind));
  return [
    makeFilters(experiment, filters, ['search', 'seed', 'owner', 'method']),
    kinds.length === 0 && make('p', { role: 'status' }, 'Nothing matches these filters.'),
    kinds.map(([kind, title]) => [make('h3', {}, title), ...listHubs(experiment, rows.filter((row) => row.target.kind === kind), kind, asked, methods, filters)]),
    drawOverlaps(experiment, methods, filters),
  ];
}

function listHubs(experiment, rows, kind, asked, methods, filters) {
  const chance = kind === 'item' && experiment.items ? `; by chance it would be ${showNumber((100 * Math.min(TOP, experiment.items)) / experiment.items)} % of them with each method` : '';
  const when = kind === 'item' ? `among the ${TOP} highest scores of at least one of the ${count(asked, 'query')}` : 'first';
  const told = `What is named ${when}, that of the most pictures first. What is named for nearly every picture is a hub, and says little of any one${chance}.`;
  const body = make('tbody', {});
  const draw = (row) =>
    make(
      'tr',
      {},
      make('td', {}, make('a', { href: writeAddress(experiment, 'items', `t${row.number}`, filters), class: 'thumb' }, showPicture(row.target.picture, ''), make('span', {}, row.target.label))),
      make('td', { 'data-value': row.queries }, `${row.queries} (${showNumber((100 * row.queries) / asked)} %)`, make('span', { class: 'meter', 'aria-hidden': 'true' }, make('span', { class: 'fill', style: { width: `${(100 * row.queries) / asked}%` } }))),
      row.by.map((number) => make('td', { 'data-value': number }, number || '–')),
      make('td', { 'data-value': row.best }, row.best),
    );
  const table = make(
    'table',
    { class: 'hubs' },
    make('thead', {}, make('tr', {}, [kind === 'item' ? 'item' : 'group', 'pictures that name it', ...methods.map(([, method]) => method.name), 'best rank'].map((name) => make('th', { scope: 'col' }, name)))),
    body,
  );
  const entries = (column) => (row) => [row.target.label, row.queries, ...row.by, row.best][column];
  const order = (column, down) => {
    const read = entries(column);
    body.replaceChildren();
    fill(body, [...rows].sort((a, b) => (down ? -1 : 1) * compare(read(a), read(b)) || a.number - b.number), draw);
  };
  makeSortable(table, order, 1);
  order(1, true);
  return [make('p', { class: 'caption' }, told), make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': kind === 'item' ? 'Items that are named most' : 'Groups that are named most' }, table)];
}

function drawOverlaps(experiment, methods, filters) {
  const seed = filters.get('seed');
  const share = (first, second) => {
    const shares = experiment.queries
      .filter((query) => (!seed || String(query.seed) === seed) && query.named[first] && query.named[second])
      .map((query) => shareTop(query, first, second).size / Math.min(query.named[first].top.length, query.named[second].top.length));
    return shares.length ? (100 * shares.reduce((sum, each) => sum + each, 0)) / shares.length : null;
  };
  const alike = methods.filter(([, method]) => method.kind === 'items');
  if (alike.length < 2) return null;
  const rows = alike.map(([first, method]) =>
    make('tr', {}, make('th', { scope: 'row' }, method.name), alike.map(([second]) => {
      const value = first === second ? 100 : share(first, second);
      return make('td', { class: 'heat', style: value === null ? {} : { '--heat': `${value}%` } }, value === null ? '–' : `${Math.round(value)} %`);
    })),
  );
  return [
    make('h3', {}, 'Overlap between methods'),
    make('p', { class: 'caption' }, `The share of the ${TOP} highest that two methods have in common: mean over the queries of both.`),
    make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Overlap between methods' },
      make('table', { class: 'matrix' }, make('thead', {}, make('tr', {}, make('td', {}), alike.map(([, method]) => make('th', { scope: 'col' }, method.name)))), make('tbody', {}, rows))),
  ];
}

// One item or group: the queries that owe it something, how much, and how sure that is.
function drawTarget(experiment, number, filters) {
  const target = experiment.targets[number];
  const { found, methods } = gatherTargets(experiment, filters);
  const entries = found.get(number).sort((a, b) => a.rank - b.rank || a.query.number - b.query.number);
  const named = entries.filter((entry) => isNamed(target, entry));
  const agreeing = new Set(named.map((entry) => entry.method)).size;
  const queries = new Set(named.map((entry) => entry.query.number)).size;
  const rank = target.kind === 'group' ? 'the first' : `among the ${TOP} highest`;
  const row = ({ query, method, rank: place, score, error }) =>
    make(
      'tr',
      {},
      make('td', {}, make('a', { class: 'thumb', href: writeAddress(experiment, 'queries', query.key, filters) }, showPicture(query.picture, ''), make('span', {}, `${query.caption} (seed ${query.seed})`))),
      make('td', { class: 'text' }, method.name),
      make('td', { 'data-value': place + 1 }, place + 1),
      make('td', { 'data-value': score }, showNumber(score)),
      make('td', { 'data-value': error || '' }, error ? `± ${showNumber(error)}` : 'not known'),
    );
  const body = make('tbody', {});
  const table = make('table', { class: 'hubs' }, make('thead', {}, make('tr', {}, ['picture', 'method', 'rank', 'score', 'standard error'].map((name) => make('th', { scope: 'col' }, name)))), body);
  const reads = [(entry) => entry.query.number, (entry) => entry.method.name, (entry) => entry.rank, (entry) => entry.score, (entry) => entry.error];
  const order = (column, down) => {
    body.replaceChildren();
    fill(body, [...entries].sort((a, b) => (down ? -1 : 1) * compare(reads[column](a), reads[column](b))), row);
  };
  makeSortable(table, order, 2, false);
  order(2, false);
  const group = target.kind === 'item' && target.group !== undefined ? `${experiment.groups}: ${target.group}. ` : '';
  return [
    make('nav', { class: 'where', 'aria-label': 'Items' }, make('a', { class: 'button', rel: 'up', href: writeAddress(experiment, 'items', '', filters) }, 'All items and groups')),
    make('div', { class: 'query' },
      make('div', { class: 'subject' }, make('h3', { tabindex: -1 }, target.label), showZoomable(target.picture, target.label),
        make('p', { class: 'caption' }, `${group}${target.n ? `${count(target.n, 'item')}; the picture is of the first one. ` : ''}`)),
      make('div', { class: 'answers' },
        make('p', {}, `Its score is ${rank} for ${count(queries, 'picture')}; ${agreeing} of ${count(methods.length, 'method')} say so.`),
        make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Pictures that name it' }, table))),
  ];
}
