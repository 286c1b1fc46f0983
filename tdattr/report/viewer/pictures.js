// Pictures, bars, and what a picture becomes.
const FEW_PIXELS = 96;

function showPicture(number, words, className) {
  const image = make('img', { src: DATA.pictures[number], alt: words, class: className, decoding: 'async', draggable: 'false' });
  image.addEventListener('load', () => image.classList.toggle('pixels', image.naturalWidth < FEW_PIXELS));
  return image;
}

// The words of a training item or group, without what stands beside them anyway.
function nameTarget(target) {
  return target.kind === 'group' ? target.group : target.label.replace(/^id \d+: /, '');
}

// A training item or group with its score, which leads to what else owes it something.
function showTarget(experiment, [number, score, error, removed], filters, both) {
  const target = experiment.targets[number];
  const words = showNumber(score) + (error ? ` ± ${showNumber(error)}` : '');
  const told = `${target.label}, score ${words}${removed ? ', removed' : ''}${both ? ', named by both methods' : ''}`;
  return make(
    'li',
    { class: `target${removed ? ' removed' : ''}${both ? ' both' : ''}${target.kind === 'group' ? ' group' : ''}` },
    make(
      'a',
      { href: writeAddress(experiment, 'items', `t${number}`, filters), title: told, 'aria-label': told },
      showPicture(target.picture, ''),
      make('span', { class: 'score' }, words),
      make('span', { class: 'name' }, nameTarget(target)),
    ),
  );
}

function showTargets(experiment, entries, filters, shared) {
  const marked = (number) => Boolean(shared && shared.has(number));
  return make('ol', { class: 'targets' }, entries.map((entry) => showTarget(experiment, entry, filters, marked(entry[0]))));
}

// Two pictures over each other, and a slider for how much of each is seen.
function showChange(before, after, words) {
  const top = make('div', { class: 'over' }, showPicture(before, ''));
  const slider = make('input', {
    type: 'range', min: 0, max: 100, value: 50, 'aria-label': `Before and after, ${words}`,
    input: () => move(),
  });
  const move = () => {
    top.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    stage.style.setProperty('--at', `${slider.value}%`);
    slider.setAttribute('aria-valuetext', `${slider.value} percent before`);
  };
  const stage = make('div', { class: 'stage' }, showPicture(after, ''), top, make('span', { class: 'edge' }), slider);
  move();
  return make(
    'figure',
    { class: 'change' },
    stage,
    make('figcaption', {}, make('span', {}, 'before'), make('span', {}, words)),
  );
}

// Scores of groups as bars around zero, with intervals where there are standard errors, and gold's beside them.
function showBars(experiment, entries, filters, first) {
  const reach = entries.flatMap(([, score, error]) => [score - Z95 * (error || 0), score + Z95 * (error || 0)]);
  const [low, high] = [Math.min(0, ...reach), Math.max(0, ...reach)];
  const at = (value) => `${(100 * (value - low)) / (high - low || 1)}%`;
  const golds = entries.map((entry) => entry[3]).filter((value) => value !== undefined && value !== null);
  const most = Math.max(...golds.map(Math.abs), 0) || 1;
  const rows = entries.map(([number, score, error, gold]) => {
    const target = experiment.targets[number];
    const [from, to] = [Math.min(0, score), Math.max(0, score)];
    const track = make(
      'span',
      { class: 'track', 'aria-hidden': 'true' },
      make('span', { class: `fill${score < 0 ? ' below' : ''}`, style: { left: at(from), width: `calc(${at(to)} - ${at(from)})` } }),
      error && make('span', {
        class: 'whisker',
        style: { left: at(score - Z95 * error), width: `calc(${at(score + Z95 * error)} - ${at(score - Z95 * error)})` },
      }),
      make('span', { class: 'zero', style: { left: at(0) } }),
      golds.length > 0 && make('span', { class: `gold${gold < 0 ? ' below' : ''}`, style: { width: `${(100 * Math.abs(gold || 0)) / most}%` } }),
    );
    return make(
      'li',
      { class: target.group === first ? 'first' : null },
      make('a', { href: writeAddress(experiment, 'items', `t${number}`, filters) }, target.group),
      track,
      make('span', { class: 'score' }, showNumber(score) + (error ? ` ± ${showNumber(Z95 * error)}` : '')),
    );
  });
  return make('ol', { class: 'bars' }, rows);
}
