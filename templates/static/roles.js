// The list of roles: search as you type, arrow keys, and copying credentials without showing them.

const search = document.querySelector('#search');
const list = document.querySelector('[data-roles]');

// What every word of the search must occur in, per line: account, labels and role.
const accounts = [...document.querySelectorAll('[data-account]')].map((card) => ({
  card,
  lines: [...card.querySelectorAll('[data-role]')].map((line) => ({
    line,
    text: `${card.dataset.account} ${line.dataset.role}`.toLowerCase(),
  })),
}));
const pinned = [...document.querySelectorAll('[data-pinned]')];

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { card, lines } of accounts) {
    let any = false;
    for (const { line, text } of lines) {
      const match = words.every((word) => text.includes(word));
      if (line.hidden === match) line.hidden = !match;
      any ||= match;
      shown += match ? 1 : 0;
    }
    if (card.hidden === any) card.hidden = !any;
  }
  for (const card of pinned) card.hidden = words.length > 0;
  document.querySelector('[data-search-empty]').hidden = shown > 0;
  document.querySelector('[data-search-status]').textContent = words.length ? `${shown} roles` : '';
}

function clear() {
  search.value = '';
  filter();
  search.focus();
}

// A line is where the focus is: its main button, or anything else in it.
const visible = () => [...list.querySelectorAll('[data-role]')].filter((line) => !line.hidden && !line.closest('[hidden]'));
const focus = (line) => line?.querySelector('[data-open]').focus();

function step(by) {
  const lines = visible();
  const at = lines.indexOf(document.activeElement.closest('[data-role]'));
  if (at + by < 0) search.focus();
  else focus(lines[Math.min(at + by, lines.length - 1)]);
}

async function copyCredentials(line) {
  const button = line.querySelector('[data-credentials]');
  const said = document.querySelector('[data-copied]');
  const body = new URLSearchParams({ form_token: list.elements.form_token.value, role: button.value });
  const answer = await fetch('/portal/credentials', { method: 'POST', body, headers: { accept: 'application/json' } });
  // A second factor is asked for, or the session is over: the page that says so.
  if (answer.redirected) {
    location.assign(answer.url);
    return;
  }
  said.hidden = false;
  if (!answer.ok) {
    said.textContent = 'That did not work. Open this page again.';
    return;
  }
  const { text, until } = await answer.json();
  await navigator.clipboard.writeText(text);
  const time = new Date(until).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
  said.textContent = `Shell lines for ${line.dataset.role} are on the clipboard. They are good until ${time}.`;
}

if (search && list) {
  document.querySelector('[data-search]').hidden = false;
  search.addEventListener('input', filter);
  document.querySelector('[data-search-clear]').addEventListener('click', clear);
  const canCopy = Boolean(navigator.clipboard && list.querySelector('[data-credentials]'));
  const keys = document.querySelector('[data-keys]');
  if (keys && canCopy) keys.hidden = false;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest('input:not([type=search]), textarea, select');
    const searching = event.target === search;
    const line = event.target.closest('[data-role]');
    if (typing) return;
    if (event.key === '/' && !searching) search.focus();
    else if (event.key === 'Escape' && (searching || line)) clear();
    else if (event.key === 'ArrowDown') step(1);
    else if (event.key === 'ArrowUp' && line) step(-1);
    else if (event.key === 'Enter' && searching) visible()[0]?.querySelector('[data-open]').click();
    else if (event.key === 'c' && line && canCopy) copyCredentials(line);
    else return;
    event.preventDefault();
  });
  if (search.value) filter();
}
