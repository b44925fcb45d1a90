// Completion in policies: actions, operators, condition keys and providers, where the caret stands inside of quotes.

// The names of the objects around the caret, and the string that is being typed; none outside of a string.
function place(text) {
  const path = [];
  let name = '';
  let string = null;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (string !== null) {
      if (sign === '\\') at += 1;
      else if (sign === '"') {
        name = string.text;
        string = null;
      } else string.text += sign;
      continue;
    }
    if (sign === '"') string = { text: '', from: at + 1 };
    else if (sign === '{' || sign === '[') path.push({ sign, name: '' });
    else if (sign === '}' || sign === ']') path.pop();
    else if (sign === ':' && path.length) path.at(-1).name = name;
    else if (sign === ',' && path.at(-1)?.sign === '{') path.at(-1).name = '';
  }
  return string && { path, string };
}

// What may stand there.
function kindAt({ path }) {
  const inner = path.at(-1);
  const member = inner?.sign === '[' ? path.at(-2)?.name : inner?.name;
  const names = path.map((level) => level.name);
  if (inner?.sign === '{' && !inner.name) {
    if (names.at(-2) === 'Condition') return { kind: 'operator' };
    if (names.at(-3) === 'Condition') return { kind: 'key' };
    return null;
  }
  if (member === 'Action' || member === 'NotAction') return { kind: 'action' };
  if (member === 'Federated') return { kind: 'federated' };
  return null;
}

for (const area of document.querySelectorAll('textarea[data-complete]')) {
  const list = document.createElement('ul');
  list.className = 'plain completions';
  list.id = `${area.id}-completions`;
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Completions');
  list.hidden = true;
  area.after(list);
  area.setAttribute('aria-controls', list.id);
  let chosen = 0;
  let asked = 0;

  const close = () => { list.hidden = true; };
  const mark = () => [...list.children].forEach((item, at) => item.setAttribute('aria-selected', String(at === chosen)));
  const take = (word) => {
    const found = place(area.value.slice(0, area.selectionStart));
    if (!found) return;
    area.setRangeText(word, found.string.from, area.selectionStart, 'end');
    close();
    area.focus();
    area.dispatchEvent(new Event('input'));
  };
  const show = (words) => {
    list.replaceChildren(...words.slice(0, 12).map((word) => {
      const item = document.createElement('li');
      item.setAttribute('role', 'option');
      item.textContent = word;
      item.addEventListener('mousedown', (event) => { event.preventDefault(); take(word); });
      return item;
    }));
    chosen = 0;
    mark();
    list.hidden = words.length === 0;
  };
  area.addEventListener('input', async () => {
    const found = place(area.value.slice(0, area.selectionStart));
    const wanted = found && kindAt(found);
    if (!wanted) { close(); return; }
    asked += 1;
    const mine = asked;
    const answer = await fetch(`/admin/completions?${new URLSearchParams({ kind: wanted.kind, start: found.string.text })}`);
    if (!answer.ok || mine !== asked) return;
    const words = await answer.json();
    show(words.filter((word) => word !== found.string.text));
  });
  area.addEventListener('keydown', (event) => {
    if (list.hidden) return;
    if (event.key === 'ArrowDown') chosen = Math.min(chosen + 1, list.children.length - 1);
    else if (event.key === 'ArrowUp') chosen = Math.max(chosen - 1, 0);
    else if (event.key === 'Escape') close();
    else if (event.key === 'Enter' || event.key === 'Tab') take(list.children[chosen].textContent);
    else return;
    event.preventDefault();
    mark();
  });
  area.addEventListener('blur', close);
}
