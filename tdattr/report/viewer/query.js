// One query, large, and for each method what it names and what came of it.
const SIGNS = {
  both: 'A score above zero counts for the picture: it owes the item something. One below zero counts against it: the item stands in its way.',
  order: 'These scores say how alike things are: only their order counts, and one below zero is not harmful.',
  unsaid: 'Only the order of these scores is sure: this run does not say whether one below zero counts against the picture.',
  positive: 'No score of this method is below zero: the lowest belong to what is least related, not to what is harmful.',
  negative: 'All scores of this method are below zero: only their order counts, and the lowest belong to what is least related.',
};

// What the signs of a method's scores mean.
function readSign(method) {
  if (method.sign !== 'both' || method.signed) return method.sign;
  return method.signed === false ? 'order' : 'unsaid';
}

function drawQuery(experiment, query, filters) {
  const queries = selectQueries(experiment, filters);
  const at = queries.indexOf(query);
  const link = (other, words, name) =>
    other
      ? make('a', { class: 'button', rel: name, href: writeAddress(experiment, 'queries', other.key, filters) }, words)
      : make('span', { class: 'button off', 'aria-hidden': 'true' }, words);
  const where = make(
    'nav',
    { class: 'where', 'aria-label': 'Queries' },
    make('a', { class: 'button', rel: 'up', href: writeAddress(experiment, 'queries', '', filters) }, 'All queries'),
    link(queries[at - 1], '← Previous', 'prev'),
    link(at >= 0 ? queries[at + 1] : undefined, 'Next →', 'next'),
    make('span', { class: 'caption' }, at < 0 ? 'not among those that the filters leave' : `${at + 1} of ${queries.length}`),
  );
  const methods = listMethods(experiment, filters).filter(([number]) => query.named[number]);
  const pair = ['a', 'b'].map((name) => methods.find(([, method]) => method.name === filters.get(name)));
  const beside = pair[0] && pair[1] && pair[0] !== pair[1];
  const drawn = ([, method]) => method.base === 'random'; // nothing is claimed for it: it comes last
  const shown = beside ? pair : [...methods].sort((a, b) => drawn(a) - drawn(b));
  const shared = beside ? shareTop(query, pair[0][0], pair[1][0]) : null;
  const group = query.group !== undefined && [`, ${experiment.groups}: `, make('bdi', {}, query.group)];
  return [
    where,
    make(
      'div',
      { class: 'query' },
      make(
        'div',
        { class: 'subject' },
        make('h3', { tabindex: -1 }, query.caption),
        !experiment.itself && showZoomable(query.picture, query.caption),
        make('p', { class: 'caption' }, experiment.itself ? `seed ${query.seed}` : `query ${query.index}, seed ${query.seed}`, group),
        make('p', { class: query.unlikely ? 'warning' : 'caption' }, tellOrigin(experiment, query)),
      ),
      make(
        'div',
        { class: 'answers' },
        make('div', { class: 'filters' }, methods.length > 1 && choosePair(methods, filters), experiment.methods.length > 1 && makeMethodChoice(experiment, filters)),
        shared && make('p', { class: 'caption' }, `${shared.size} of the ${TOP} highest are named by both; they have a frame.`),
        make('div', { class: beside ? 'methods beside' : 'methods' }, shown.map(([number, method]) => showMethod(experiment, query, number, method, filters, shared))),
        make('p', { class: 'caption' }, 'Scores of different methods have units of their own: compare their order, not their size. ', experiment.removal || ''),
      ),
    ),
  ];
}

// Whether the model can have made the picture at all.
function tellOrigin(experiment, query) {
  if (experiment.itself) return 'How much the model knows each item from the item itself, and not from others that are like it.';
  if (query.unlikely) return 'This model can hardly have made such a picture: what it is attributed to says little.';
  if (!experiment.brought) return 'This model generated it.';
  if (typeof query.share !== 'number') return 'Whether this model can have made it is not judged by its loss: too few items that it has not seen are there to compare with.';
  return `Nothing says that this model cannot have made it: its loss is above that of ${Math.round(100 * query.share)} % of items that the model has not seen. That is no proof that it did.`;
}

function choosePair(methods, filters) {
  const options = [['', '–'], ...methods.map(([, method]) => [method.name, method.name])];
  return [
    makeSelect('Side by side', options, filters.get('a') || '', (value) => setFilter('a', value)),
    makeSelect('with', options, filters.get('b') || '', (value) => setFilter('b', value)),
  ];
}

function shareTop(query, first, second) {
  const [one, other] = [first, second].map((number) => query.named[number].top.map(([target]) => target));
  return new Set(one.filter((target) => other.includes(target)));
}

function showMethod(experiment, query, number, method, filters, shared) {
  const named = query.named[number];
  const what = method.kind === 'groups' ? 'groups' : 'items';
  const parts = [
    make('h4', {}, method.name),
    showVerdict(experiment, method, named.verdict),
    make('h5', {}, experiment.itself ? 'Highest scores: memorised, rare, or labelled wrongly' : method.base === 'random' ? `Drawn at random, to compare with: ${what} that nothing is claimed for` : `Highest scores: the ${what} that it owes most`),
    showTargets(experiment, named.top, filters, shared),
  ];
  if (named.low.length && method.base !== 'random' && !(named.groups && method.kind === 'groups')) {
    parts.push(
      make('h5', {}, experiment.itself ? 'Lowest scores: what the others say as well' : named.low[0][1] < 0 && readSign(method) === 'both' ? 'Lowest scores: what counts against it most' : 'Lowest scores: what it owes least'),
      showTargets(experiment, named.low, filters, null),
    );
  }
  if (method.decided) {
    parts.push(make('p', { class: 'caption' }, `This method decided only which ${method.decided} scores are the highest; the others, the lowest among them, are not known.`));
  }
  if (named.pairs) {
    parts.push(
      make('h5', {}, 'Pairs that share most of it: duplicates share 1'),
      showTargets(experiment, named.pairs, filters, null),
    );
  }
  if (method.base !== 'random' && !experiment.itself) parts.push(make('p', { class: 'caption' }, SIGNS[readSign(method)]));
  if ([...named.top, ...named.low].some((entry) => entry[2])) {
    parts.push(make('p', { class: 'caption' }, '±: the standard error of a score.'));
  }
  if (named.after !== undefined) parts.push(showChanges(query, named, method));
  if (named.groups) parts.push(...showGroups(experiment, method, named, filters));
  return make('section', { class: 'method', 'aria-label': method.name }, parts);
}

function showChanges(query, named, method) {
  const changes = [showChange(query.picture, named.after, `without what ${method.name} names`)];
  if (named.random !== undefined && named.random !== named.after) {
    changes.push(showChange(query.picture, named.random, 'without random items'));
  }
  return make('div', {}, make('h5', {}, 'Before and after the removal'), make('div', { class: 'changes' }, changes));
}

function showGroups(experiment, method, named, filters) {
  const shown = named.groups.map(([number]) => experiment.targets[number].group);
  const first = shown.find((group) => group === named.verdict.gold); // none where gold has a tie
  const all = experiment.targets.filter((target) => target.kind === 'group').length;
  const goldShown = named.groups.some((entry) => entry[3] !== undefined && entry[3] !== null);
  const told = [
    shown.length < all && `The ${shown.length} highest of ${all}.`,
    method.intervals || 'Lines: 95 % intervals, from the standard errors.',
    goldShown && 'Thin bars: gold, what retraining without the group says, on a scale of its own; dashed: below zero.',
    first !== undefined && 'In bold: the group that gold puts first.',
  ].filter(Boolean);
  return [
    make('h5', {}, 'Scores of the groups'),
    showBars(experiment, named.groups, filters, first),
    told.length > 0 && make('p', { class: 'caption' }, told.join(' ')),
  ];
}

// The numbers of a verdict; beside the mean of all queries and the noise ceiling where there is one.
function showVerdict(experiment, method, verdict) {
  const entries = Object.entries(verdict).filter(([name]) => !name.endsWith('_random') && !['named', 'outcome'].includes(name));
  if (!entries.length) return null;
  const said = experiment.outcomes && verdict.outcome !== undefined && experiment.outcomes[1 - verdict.outcome];
  return make('div', {}, said && make('p', { class: `outcome${verdict.outcome ? ' for' : ''}` }, said), make('dl', { class: 'verdict' }, entries.map(([name, value]) => {
    const random = verdict[`${name}_random`];
    const ceiling = method.ceiling && method.ceiling[name];
    const told = [
      random !== undefined && method.base !== 'random' && `${showNumber(random)} without random items`,
      method.mean && method.mean[name] !== undefined && `mean ${showNumber(method.mean[name])}`,
      ceiling !== undefined && `noise ceiling ${showNumber(ceiling)}`,
    ].filter(Boolean);
    return make(
      'div',
      {},
      make('dt', {}, name),
      make('dd', {}, typeof value === 'number' ? showNumber(value) : String(value), told.length > 0 && make('span', { class: 'small' }, ` ${told.join(', ')}`)),
      ceiling !== undefined && showMeter(value, ceiling),
    );
  })));
}

function showMeter(value, ceiling) {
  const at = (part) => `${100 * Math.max(0, Math.min(1, part))}%`;
  return make(
    'div',
    { class: 'meter', 'aria-hidden': 'true' },
    make('span', { class: 'fill', style: { width: at(value) } }),
    make('span', { class: 'ceiling', style: { left: at(ceiling) } }),
  );
}
