// One item or group: the queries that owe it something, how much, and how sure that is.
function drawTarget(experiment, number, filters) {
  const target = experiment.targets[number];
  const { found, methods: chosen } = gatherTargets(experiment, filters);
  const methods = listScoring(experiment, target.kind, chosen);
  const entries = found.get(number);
  const named = entries.filter((entry) => isNamed(target, entry));
  const agreeing = new Set(named.map((entry) => entry.method)).size;
  const queries = new Set(named.map((entry) => entry.query.number)).size;
  const rank = target.kind === 'group' ? 'the first' : `among the ${TOP} highest`;
  const group = target.kind === 'item' && target.group !== undefined && [`${experiment.groups}: `, make('bdi', {}, target.group), '. '];
  const whole = target.kind === 'group' && experiment.targets.some((each) => each.kind === 'item' && each.group === target.group);
  const owned = new URLSearchParams({ owner: target.group });
  return [
    make('nav', { class: 'where', 'aria-label': 'Items' },
      make('a', { class: 'button', rel: 'up', href: writeAddress(experiment, 'items', '', filters) }, 'All items and groups'),
      whole && make('a', { class: 'button', href: writeAddress(experiment, 'items', '', owned) }, 'Its items that are named')),
    make('div', { class: 'query' },
      make('div', { class: 'subject' }, make('h3', { tabindex: -1 }, target.label), showZoomable(target.picture, target.label),
        make('p', { class: 'caption' }, group, target.n && `${count(target.n, 'item')}; the picture is of the first one.`)),
      make('div', { class: 'answers' },
        make('p', {}, `Its score is ${rank} for ${count(queries, 'picture')}; ${agreeing} of ${count(methods.length, 'method')} say so.`),
        methods.map(([, method]) => listOwing(experiment, target, method, entries.filter((entry) => entry.method === method), filters)))),
  ];
}

// The pictures that owe it something by one method: those that rank it highest first, and of these the highest scores.
function listOwing(experiment, target, method, entries, filters) {
  if (!entries.length) return make('p', { class: 'caption' }, `${method.name} names it for none.`);
  const golds = target.kind === 'group' ? new Map(entries.map((entry) => [entry, readGold(entry, target)])) : new Map();
  const judged = experiment.outcomes && entries.some((entry) => readOutcome(entry) !== undefined);
  const columns = [
    ['picture', (entry) => entry.query.number, ({ query }) => make('a', { class: 'thumb', href: writeAddress(experiment, 'queries', query.key, filters) }, showPicture(query.picture, ''), make('span', {}, make('bdi', {}, query.caption), ` (seed ${query.seed})`))],
    ['rank', (entry) => entry.rank, ({ rank }) => rank + 1],
    ['score', (entry) => entry.score, ({ score }) => showNumber(score)],
    ['95 % interval', (entry) => entry.error, ({ score, error }) => (error ? `${showNumber(score - Z95 * error)} to ${showNumber(score + Z95 * error)}` : 'not known')],
    [...golds.values()].some((gold) => gold !== undefined) && ['gold', (entry) => golds.get(entry), (entry) => showNumber(golds.get(entry))],
    judged && ['verdict on the picture', readOutcome, (entry) => experiment.outcomes[1 - readOutcome(entry)] || '–', 'words-cell'],
  ].filter(Boolean);
  const body = make('tbody', {});
  const draw = (entry) => make('tr', {}, columns.map(([, , show, wide]) => make('td', { class: wide }, show(entry))));
  const table = make('table', { class: 'hubs' }, make('thead', {}, make('tr', {}, columns.map(([name, , , wide]) => make('th', { scope: 'col', class: wide }, name)))), body);
  const byScore = [...entries].sort((a, b) => a.rank - b.rank || b.score - a.score || a.query.number - b.query.number);
  const order = (column, down) => {
    const read = columns[column][1];
    body.replaceChildren();
    fill(body, [...byScore].sort((a, b) => compare(read(a), read(b), down)), draw);
  };
  makeSortable(table, order, 1, false);
  order(1, false);
  return make('section', { class: 'method', 'aria-label': `Pictures that owe it most, by ${method.name}` },
    make('h4', {}, `Pictures that owe it most, by ${method.name}`),
    target.kind === 'group' && method.intervals && make('p', { class: 'caption' }, method.intervals),
    make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Table: pictures that owe it most, by ${method.name}` }, table));
}

function readOutcome({ query, number }) {
  return query.named[number].verdict.outcome;
}

function readGold({ query, number }, target) {
  const entry = (query.named[number].groups || []).find(([index]) => target.number === index);
  return entry && entry[3] !== null ? entry[3] : undefined;
}
