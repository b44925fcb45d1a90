// Takes the pictures of the README and of the help in the console, of a demo broker: `make pictures`. Look at them, then commit.
import fs from 'node:fs';
import path from 'node:path';
import { launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const viewport = { width: 1200, height: 760 };
const { broker, passwords } = await e2e.demo();
const { page, close } = await launch({ viewport, colorScheme: 'light' });
const help = path.join(e2e.root, 'templates/static/help');
fs.mkdirSync(help, { recursive: true });
const take = (file, clip) => page.screenshot({ path: file, ...(clip && { clip }) });
try {
  await e2e.signInByPassword(page, broker, 'jane@example.com', passwords['jane@example.com']);
  await page.getByRole('button', { name: 'Favourite: Deployer' }).click();
  await page.locator('[data-pinned]').waitFor();
  await take(path.join(e2e.root, '.readme/portal.png'));
  await page.getByRole('button', { name: /^Open the console as Administrator/ }).click();
  await page.waitForURL(/\/admin/);
  await page.goto(`${broker.url}/admin/mapping`);
  await take(path.join(help, 'mapping.png'));
  fs.copyFileSync(path.join(help, 'mapping.png'), path.join(e2e.root, '.readme/mapping.png'));
  await page.goto(`${broker.url}/admin/roles/Administrator`);
  await page.getByLabel('Values').fill('admins\ndevelopers');
  await page.getByRole('button', { name: 'Preview', exact: true }).click();
  await page.getByText('1 gain it').waitFor();
  await page.locator('#preview').scrollIntoViewIfNeeded();
  await page.locator('#preview').screenshot({ path: path.join(help, 'preview.png') });
  await page.goto(`${broker.url}/admin/try?search=sam`);
  await page.getByRole('link', { name: 'Sam Lee' }).click();
  await page.locator('.event summary').nth(2).click();
  await take(path.join(help, 'try.png'));
} finally {
  await close();
  await broker.kill('SIGTERM');
}
