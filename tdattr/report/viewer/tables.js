// Tables that sort by their headings and download as the files that are written beside the page.
function makeSortable(table, order, column, down = true) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, number) => {
    const button = make('button', {
      type: 'button', class: 'sort',
      click: () => {
        const now = heading.getAttribute('aria-sort');
        const next = now ? now === 'ascending' : number !== 0; // numbers begin with the largest
        headings.forEach((each) => each.removeAttribute('aria-sort'));
        heading.setAttribute('aria-sort', next ? 'descending' : 'ascending');
        order(number, next);
      },
    }, ...heading.childNodes);
    heading.append(button);
    if (number === column) heading.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  });
}

function readCell(cell) {
  if (cell.dataset.value) return Number(cell.dataset.value);
  const text = cell.textContent.trim().replace('−', '-');
  if (text === '' || text === '–') return undefined;
  const number = text.match(/^<?[+-]?\d+(\.\d+)?(e[+-]?\d+)?(?=$|[^\w.:-])/);
  return number ? Number(number[0].replace('<', '')) : text;
}

function sortRows(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  return (column, down) => {
    const values = new Map(rows.map((row) => [row, readCell(row.cells[column])]));
    body.append(...[...rows].sort((a, b) => compare(values.get(a), values.get(b), down)));
  };
}

function save(name, text, type) {
  const link = make('a', { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function prepareTables(article, experiment) {
  for (const sheet of article.querySelectorAll('.sheet')) {
    const table = sheet.querySelector('table');
    if (!table || !table.tHead) continue;
    makeSortable(table, sortRows(table));
    const files = experiment.downloads && experiment.downloads[sheet.dataset.sheet];
    if (!files) continue;
    const name = `${experiment.slug}-${sheet.dataset.sheet}`;
    const title = sheet.querySelector('summary').textContent;
    const button = (words, ending, type) =>
      make('button', { type: 'button', 'aria-label': `${words} of ${title}`, click: () => save(`${name}.${ending}`, files[ending], type) }, words);
    table.parentElement.after(make('p', { class: 'downloads' }, button('CSV', 'csv', 'text/csv'), button('LaTeX', 'tex', 'application/x-tex')));
  }
}
