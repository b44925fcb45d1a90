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
