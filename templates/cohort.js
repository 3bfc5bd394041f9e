(() => {
const table = document.getElementById('mt'), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
const find = document.getElementById('q'), mistake = document.getElementById('m'), status = document.getElementById('st');
const value = (row, i) => row.cells[i].dataset.v;
const order = new Intl.Collator('en', {numeric: true}).compare;
heads.forEach((head, i) => head.firstElementChild.addEventListener('click', () => {
  const down = head.getAttribute('aria-sort') !== 'descending';
  heads.forEach(other => other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const keys = [...body.rows].map(row => [i ? +value(row, i) : value(row, i), row]);
  keys.sort(([a], [b]) => (i ? a - b : order(a, b)) * (down ? -1 : 1));
  body.append(...keys.map(key => key[1]));
}));
const filter = () => {
  const words = find.value.trim().toLowerCase();
  let shown = 0, hits = 0;
  for (const row of body.rows) {
    const fits = value(row, 0).includes(words);
    const hit = !mistake.value || (row.dataset.m || '').split(' ').includes(mistake.value);
    row.hidden = !fits;
    row.classList.toggle('dim', !hit);
    shown += fits;
    hits += fits && hit;
  }
  status.textContent = mistake.value ? `${hits} of ${shown} students` : words ? `${shown} students` : '';
};
find.addEventListener('input', filter);
mistake.addEventListener('change', filter);
document.querySelectorAll('a[data-m]').forEach(link => link.addEventListener('click', () => {
  mistake.value = link.dataset.m;
  filter();
}));
body.addEventListener('keydown', event => {
  const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[event.key];
  const cell = event.target.closest('td,th');
  if (!step || !cell) return;
  let row = cell.parentNode;
  if (step[0]) do row = step[0] > 0 ? row.nextElementSibling : row.previousElementSibling; while (row && row.hidden);
  const link = row && row.cells[cell.cellIndex + step[1]] && row.cells[cell.cellIndex + step[1]].querySelector('a');
  if (link) { event.preventDefault(); link.focus(); }
});
})();
