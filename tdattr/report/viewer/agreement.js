// How far methods agree with each other.
function drawAgreement(experiment, queries, methods) {
  const items = methods.filter(([, method]) => method.kind === 'items');
  const shareItems = (query, first, second) =>
    shareTop(query, first, second).size / Math.min(query.named[first].top.length, query.named[second].top.length);
  const ranking = methods.filter(([number]) => queries.some((query) => listRanked(query, number).length));
  const shareFirst = (query, first, second) => {
    const [one, other] = [first, second].map((number) => listRanked(query, number)[0]);
    return one && other ? Number(one[0] === other[0]) : null;
  };
  const chance = experiment.items ? ` Two random lists would have ${showNumber((100 * TOP) / Math.max(TOP, experiment.items))} %.` : '';
  return [
    ...drawMatrix('Overlap between methods', `The share of the ${TOP} highest items that two methods have in common: mean over the pictures of both.${chance}`, queries, items, shareItems),
    ...drawMatrix('The same group first', 'The share of the pictures for which two methods put the same group first.', queries, ranking, shareFirst),
  ];
}

// The groups as a method ranks them for a query.
function listRanked(query, number) {
  const named = query.named[number];
  return (named && (named.groups || (named.kind === 'groups' && named.top))) || [];
}

// A table of how alike every two methods are, in percent, coloured by it.
function drawMatrix(title, told, queries, methods, share) {
  if (methods.length < 2) return [];
  const mean = (first, second) => {
    const shares = queries.filter((query) => query.named[first] && query.named[second]).map((query) => share(query, first, second)).filter((each) => each !== null);
    return shares.length ? (100 * shares.reduce((sum, each) => sum + each, 0)) / shares.length : null;
  };
  const cell = (value) => make('td', { class: 'heat', style: value === null ? {} : { '--heat': `${value}%` } }, value === null ? '–' : `${Math.round(value)} %`);
  const rows = methods.map(([first, method]) =>
    make('tr', {}, make('th', { scope: 'row' }, method.name), methods.map(([second]) => cell(first === second ? 100 : mean(first, second)))));
  const head = make('thead', {}, make('tr', {}, make('td', {}), methods.map(([, method]) => make('th', { scope: 'col' }, method.name))));
  return [
    make('h3', {}, title),
    make('p', { class: 'caption' }, told),
    make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title }, make('table', { class: 'matrix' }, head, make('tbody', {}, rows))),
  ];
}
