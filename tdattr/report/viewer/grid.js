// All queries that the filters leave, as pictures.
function drawGrid(experiment, filters) {
  const queries = selectQueries(experiment, filters);
  const [key, words, read] = listOrders(experiment, filters).find(([each]) => each === (filters.get('sort') || '')) || ['', '', null];
  const claiming = listClaiming(experiment, filters);
  const card = (query) => {
    const [number, answering] = claiming.find(([each]) => query.named[each]) || [];
    const value = key && key !== 'caption' ? read(query) : undefined;
    return make(
      'li',
      {},
      make(
        'a',
        { class: 'card', href: writeAddress(experiment, 'queries', query.key, filters) },
        !experiment.itself && showPicture(query.picture, ''),
        make('span', { class: 'words' }, query.caption),
        !experiment.itself && make('span', { class: 'small' }, listSeeds(experiment).length > 1 ? `query ${query.index}, seed ${query.seed}` : `query ${query.index}`),
        answering && answer(experiment, query.named[number].top, answering.name),
        value !== undefined && make('span', { class: 'small' }, typeof value === 'number' ? `${words} ${showNumber(value)}` : value),
      ),
    );
  };
  const list = make('ul', { class: 'grid', keydown: moveInGrid });
  fill(list, queries, card);
  const told = queries.length === experiment.queries.length
    ? count(queries.length, 'query')
    : `${queries.length} of ${count(experiment.queries.length, 'query')}`;
  return [
    makeFilters(experiment, filters, ['search', 'seed', 'group', 'verdict', 'sort', 'method']),
    make('p', { class: 'caption', role: 'status' }, queries.length ? experiment.itself ? 'Open it to see all.' : `${told}. Open one to see what it owes.` : 'No query matches these filters.'),
    list,
  ];
}

// The methods that something is claimed for: the best judged first, or, where none is judged, the last of the tables.
function listClaiming(experiment, filters) {
  const place = ([, method]) => experiment.ranked.indexOf(method.name) + 1 || Infinity;
  return listMethods(experiment, filters)
    .filter(([, method]) => method.base !== 'random')
    .reverse()
    .sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
}

// What a query owes most by one method, small.
const ANSWERS = 3;
function answer(experiment, top, method) {
  const targets = top.slice(0, ANSWERS).map(([number]) => experiment.targets[number]);
  return [
    make('span', { class: 'small' }, `${experiment.itself ? 'most' : 'owes most'}, by ${method}: `, nameTarget(targets[0])),
    make('span', { class: 'owed' }, targets.map((target) => showPicture(target.picture, ''))),
  ];
}

function moveInGrid(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const cards = [...event.currentTarget.querySelectorAll('.card')];
  const at = cards.indexOf(document.activeElement);
  if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  const columns = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
  const step = steps[event.key] || { ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (!step || !cards[at + step]) return;
  cards[at + step].focus();
  event.preventDefault();
}
