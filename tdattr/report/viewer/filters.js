// The filters above the queries and the items; each is a part of the address.
function makeFilters(experiment, filters, parts) {
  const made = [];
  if (parts.includes('search')) {
    const search = make('input', {
      type: 'search', value: filters.get('search') || '', id: 'search', autocomplete: 'off',
      input: () => setFilter('search', search.value),
    });
    made.push(make('label', { class: 'field' }, make('span', {}, 'Search in captions'), search));
  }
  const seeds = listSeeds(experiment);
  if (parts.includes('seed') && seeds.length > 1) {
    const options = [['', 'all'], ...seeds.map((seed) => [String(seed), String(seed)])];
    made.push(makeSelect('Seed', options, filters.get('seed') || '', (value) => setFilter('seed', value)));
  }
  const groups = listGroups(experiment);
  if (parts.includes('group') && groups.length > 1) {
    const options = [['', 'all'], ...groups.map((group) => [group, group])];
    const label = parts.includes('owner') ? 'Pictures of' : 'Group';
    made.push(makeSelect(`${label} (${experiment.groups})`, options, filters.get('group') || '', (value) => setFilter('group', value)));
  }
  const owners = listOwners(experiment);
  if (parts.includes('owner') && owners.length > 1) {
    const options = [['', 'all'], ...owners.map((group) => [group, group])];
    made.push(makeSelect(`Items of (${experiment.groups})`, options, filters.get('owner') || '', (value) => setFilter('owner', value)));
  }
  const outcomes = listOutcomes(experiment, filters);
  if (parts.includes('verdict') && outcomes.length) {
    const options = [['', 'all'], ...outcomes.map(([key, words]) => [key, words])];
    made.push(makeSelect('Verdict', options, filters.get('verdict') || '', (value) => setFilter('verdict', value)));
  }
  if (parts.includes('sort')) {
    const options = listOrders(experiment, filters).map(([key, words]) => [key, words]);
    made.push(makeSelect('Sort by', options, filters.get('sort') || '', (value) => setFilter('sort', value)));
    const down = filters.get('down');
    made.push(
      make(
        'button',
        { type: 'button', class: 'order', 'aria-pressed': down ? 'true' : 'false', click: () => setFilter('down', down ? '' : '1') },
        down ? 'highest first ↓' : 'lowest first ↑',
      ),
    );
  }
  if (parts.includes('method') && experiment.methods.length > 1) made.push(makeMethodChoice(experiment, filters));
  return make('form', { class: 'filters', role: 'search', submit: (event) => event.preventDefault() }, made);
}

function makeMethodChoice(experiment, filters) {
  const shown = listMethods(experiment, filters).map(([, method]) => method.name);
  const boxes = experiment.methods.map(({ name }) => {
    const box = make('input', {
      type: 'checkbox', value: name, checked: shown.includes(name),
      change: () => {
        const kept = experiment.methods.map((each) => each.name).filter((each) => (each === name ? box.checked : shown.includes(each)));
        setFilter('method', kept.length === experiment.methods.length ? [] : kept);
      },
    });
    return make('label', { class: 'box' }, box, ` ${name}`);
  });
  const told = shown.length === experiment.methods.length ? 'all' : shown.join(', ');
  return make('details', { class: 'methods', 'data-keep': 'methods' }, make('summary', {}, `Methods: ${told}`), make('fieldset', {}, make('legend', { class: 'unseen' }, 'Methods'), boxes));
}
