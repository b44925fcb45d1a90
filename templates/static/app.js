// Small comforts; every page works without them.

// Times in the reader's own zone.
for (const time of document.querySelectorAll('time[datetime]')) {
  const instant = new Date(time.dateTime);
  if (Number.isNaN(instant.valueOf())) continue;
  const today = instant.toDateString() === new Date().toDateString();
  const options = today ? { hour: '2-digit', minute: '2-digit' } : { dateStyle: 'medium', timeStyle: 'short' };
  time.textContent = instant.toLocaleString(undefined, options);
  time.title = time.dateTime;
}

// A form on its way to an identity provider goes by itself.
document.querySelector('form[data-submit]')?.submit();

// Search as you type: every word must occur in account or role.
const search = document.querySelector('#search');
if (search) {
  const box = document.querySelector('[data-search]');
  const status = document.querySelector('[data-search-status]');
  const empty = document.querySelector('[data-search-empty]');
  const accounts = [...document.querySelectorAll('[data-account]')].map((card) => ({
    card,
    roles: [...card.querySelectorAll('[data-role]')].map((line) => ({
      line,
      text: `${card.dataset.account} ${line.dataset.role}`.toLowerCase(),
    })),
  }));
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { card, roles } of accounts) {
      let any = false;
      for (const { line, text } of roles) {
        const match = words.every((word) => text.includes(word));
        line.hidden = !match;
        any ||= match;
        shown += match ? 1 : 0;
      }
      card.hidden = !any;
    }
    empty.hidden = shown > 0;
    status.textContent = words.length ? `${shown} roles` : '';
  };
  box.hidden = false;
  search.addEventListener('input', filter);
  document.querySelector('[data-search-clear]').addEventListener('click', () => {
    search.value = '';
    filter();
    search.focus();
  });
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input, textarea, select');
    if (event.key === '/' && !typing) {
      event.preventDefault();
      search.focus();
    } else if (event.key === 'Escape' && event.target === search) {
      search.value = '';
      filter();
    }
  });
}

// Copy without showing.
for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = 'Copied';
    document.querySelector('[data-copy-status]').textContent = 'Copied to the clipboard';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
}

// Passkeys: the browser's answer goes with the form.
const canPasskey = window.PublicKeyCredential?.parseRequestOptionsFromJSON !== undefined;
for (const form of document.querySelectorAll('form[data-passkey]')) {
  const problem = form.querySelector('[data-passkey-problem]');
  const say = (text) => { problem.textContent = text; problem.hidden = false; };
  if (!canPasskey) {
    say('This browser is too old for passkeys.');
    form.querySelector('button').hidden = true;
    continue;
  }
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const options = JSON.parse(form.dataset.options);
    try {
      const credential = form.dataset.passkey === 'create'
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
      form.elements.credential.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch (error) {
      const known = error.name === 'InvalidStateError' ? 'This device has a passkey of yours already.' : 'That did not work. Try again, or choose another way.';
      say(known);
    }
  });
}
