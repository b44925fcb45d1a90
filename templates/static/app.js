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

// What is left until an instant.
for (const place of document.querySelectorAll('[data-countdown]')) {
  const end = new Date(place.dataset.countdown).valueOf();
  const tick = () => {
    const left = Math.max(0, Math.floor((end - Date.now()) / 1000));
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    const two = (number) => String(number).padStart(2, '0');
    place.textContent = left ? `· ${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)} left` : '· ended';
    if (left) setTimeout(tick, 1000);
  };
  tick();
}

// Where the menu is a strip, its current entry is in sight.
document.querySelector('.menu [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });

// A form on its way to an identity provider goes by itself.
document.querySelector('form[data-submit]')?.submit();

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
