// Training items and groups: which queries name them, what is named everywhere, and how far methods agree.
function gatherTargets(experiment, filters) {
  const chosen = listMethods(experiment, filters);
  const claiming = chosen.filter(([, method]) => method.base !== 'random'); // nothing is claimed for what is drawn
  const methods = claiming.length ? claiming : chosen;
  const found = new Map(experiment.targets.map((_, number) => [number, []]));
  const queries = experiment.queries.filter(makeKeeper(experiment, filters));
  for (const query of queries) {
    for (const [number, method] of methods) {
      const named = query.named[number];
      if (!named) continue;
      const lists = method.kind === 'items' && named.groups ? [named.top, named.groups] : [named.groups || named.top];
      for (const list of lists) list.forEach(([target, score, error], rank) => found.get(target).push({ query, number, method, rank, score, error }));
    }
  }
  return { queries, found, methods };
}

const FEW_HUBS = 15; // of a list that is shown whole on demand

// Of a group only a first rank says something: there are few of them.
function isNamed(target, entry) {
  return entry.rank < (target.kind === 'group' ? 1 : TOP);
}

// Those of the methods that score this kind of targets: the others say nothing of any.
function listScoring(experiment, kind, methods) {
  const scoresGroups = ([number, method]) => method.kind === 'groups' || experiment.queries.some((query) => query.named[number] && query.named[number].groups);
  return methods.filter(kind === 'group' ? scoresGroups : ([, method]) => method.kind === 'items');
}

function drawTargets(experiment, filters) {
  const { queries, found, methods } = gatherTargets(experiment, filters);
  const words = (filters.get('search') || '').toLowerCase().split(/\s+/).filter(Boolean);
  const owner = filters.get('owner');
  const scoring = { item: listScoring(experiment, 'item', methods), group: listScoring(experiment, 'group', methods) };
  const rows = (queries.length ? experiment.targets : [])
    .map((target, number) => {
      const named = found.get(number).filter((entry) => isNamed(target, entry));
      const naming = new Set(named.map((entry) => entry.query.number));
      const by = scoring[target.kind].map(([, method]) => named.filter((entry) => entry.method === method).length);
      const ranks = found.get(number).map((entry) => entry.rank + 1);
      return { target, number, queries: naming.size, by, best: ranks.length ? Math.min(...ranks) : undefined };
    })
    .filter((row) => (row.queries || row.target.kind === 'group') && (owner === null || row.target.group === owner) && words.every((word) => `${row.target.label} ${row.target.group || ''}`.toLowerCase().includes(word)));
  const kinds = [['item', 'Training items'], ['group', 'Groups']].filter(([kind]) => rows.some((row) => row.target.kind === kind));
  return [
    makeFilters(experiment, filters, ['search', 'seed', 'group', 'owner', 'verdict', 'method']),
    kinds.length === 0 && make('p', { role: 'status' }, 'Nothing matches these filters.'),
    kinds.map(([kind, title]) => [make('h3', {}, title), ...listHubs(experiment, rows.filter((row) => row.target.kind === kind), kind, queries.length, scoring[kind], filters)]),
    queries.length > 0 && drawAgreement(experiment, queries, methods),
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
      make('td', {}, `${row.queries} (${showNumber((100 * row.queries) / asked)} %)`, make('span', { class: 'meter', 'aria-hidden': 'true' }, make('span', { class: 'fill', style: { width: `${(100 * row.queries) / asked}%` } }))),
      row.by.map((number) => make('td', {}, number || '–')),
      make('td', {}, row.best === undefined ? '–' : row.best),
    );
  const table = make(
    'table',
    { class: 'hubs' },
    make('thead', {}, make('tr', {}, [kind === 'item' ? 'item' : 'group', 'pictures that name it', ...methods.map(([, method]) => method.name), 'best rank'].map((name) => make('th', { scope: 'col' }, name)))),
    body,
  );
  const entries = (column) => (row) => [row.target.label, row.queries, ...row.by, row.best][column];
  const more = make('button', { type: 'button', click: () => { all = true; order(...sorted); } }, `Show all ${rows.length}`);
  let [all, sorted] = [rows.length <= FEW_HUBS, [1, true]];
  const order = (column, down) => {
    const read = entries(column);
    const listed = [...rows].sort((a, b) => compare(read(a), read(b), down) || a.number - b.number);
    sorted = [column, down];
    more.hidden = all;
    body.replaceChildren();
    fill(body, all ? listed : listed.slice(0, FEW_HUBS), draw);
  };
  makeSortable(table, order, 1);
  order(1, true);
  return [make('p', { class: 'caption' }, told), make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': kind === 'item' ? 'Items that are named most' : 'Groups that are named most' }, table), more];
}
