// Pictures of every page in light, dark and phone width, for people to look at.   node screenshots.mjs FOLDER
import fs from 'node:fs';
import path from 'node:path';
import { fillLogin, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const out = process.argv[2] ?? 'target/screenshots';
fs.mkdirSync(out, { recursive: true });
const broker = new e2e.Broker(await e2e.freePort());
const saml = await e2e.testbed('idp-simplesamlphp.sh');
const document = e2e.organization({ metadataFile: saml.info.IDP_METADATA_FILE, issuer: 'http://127.0.0.1:1', clientSecret: 'x' });
const demo = fs.readFileSync(path.join(e2e.root, 'config/demo.toml'), 'utf8');
const { passwords } = broker.apply(demo.replace(/\[\[identity_sources\]\][^[]*/, (own) => `${own}\n${document.match(/\[\[identity_sources\]\]\nname = "corp"[^]*?(?=\[\[identity_sources\]\]\nname = "cloud")/)[0]}`), '--new-passwords');
await broker.start();
fs.writeFileSync(path.join(out, 'sp.xml'), await (await fetch(`${broker.url}/saml/metadata`)).text());
saml.command('add-sp', path.join(out, 'sp.xml'));

const looks = [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['phone', { colorScheme: 'light', viewport: { width: 360, height: 740 } }],
];
for (const [look, options] of looks) {
  const { page, close } = await launch(options);
  const shot = (name) => page.screenshot({ path: path.join(out, `${name}-${look}.png`), fullPage: true });
  await page.goto(`${broker.url}/sign-in`); await shot('1-sign-in');
  await page.goto(`${broker.url}/sign-in/people`);
  await page.getByLabel('User name or e-mail').fill('jane@example.com');
  await page.getByLabel('Password', { exact: true }).fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor(); await shot('2-password');
  await page.getByLabel('Password', { exact: true }).fill(passwords['jane@example.com']);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  await page.getByText('Why do I have this?').first().click(); await shot('3-portal');
  await page.getByRole('button', { name: /Copy credentials for Developer/ }).click();
  await page.locator('summary').first().click(); await shot('4-credentials');
  await page.goto(`${broker.url}/device`); await shot('5-device');
  await page.goto(`${broker.url}/portal`);
  await page.getByRole('button', { name: /Open the console as Administrator/ }).click();
  await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor(); await shot('6-roles');
  await page.getByRole('link', { name: 'Administrator', exact: true }).click(); await shot('7-role');
  await page.getByRole('link', { name: 'Dry-run first' }).click();
  await page.getByLabel('Identity provider').selectOption({ index: 1 });
  await page.getByLabel('Claims, as condition keys (JSON)').fill('{"directory:groups": ["Admins"]}');
  await page.getByRole('button', { name: 'Dry-run' }).click(); await shot('8-dry-run');
  await page.goto(`${broker.url}/oidc/cloud/callback?state=x`); await shot('9-failed');
  await page.goto(`${broker.url}/admin/sources`);
  await page.getByLabel('SAML metadata').fill(fs.readFileSync(saml.info.IDP_METADATA_FILE, 'utf8'));
  await page.getByRole('button', { name: 'See what it comes to' }).click();
  await page.getByRole('heading', { name: 'Understood' }).waitFor();
  await page.getByText('What the provider needs of us').first().click(); await shot('9-sources');
  await page.getByLabel('Name in addresses').nth(1).fill(`partner-${look}`);
  await page.getByLabel('Text of its button').nth(1).fill('Partner SSO');
  await page.getByRole('button', { name: 'Make a setup link' }).click();
  const link = await page.locator('#link').innerText(); await shot('9-sources-link');
  await page.goto(link); await shot('12-setup');
  await page.getByLabel('SAML metadata').fill(fs.readFileSync(saml.info.IDP_METADATA_FILE, 'utf8').replaceAll(saml.info.IDP_ENTITY_ID, `https://partner.test/${look}`));
  await page.getByRole('button', { name: 'Check' }).click();
  await page.getByRole('button', { name: 'Connect' }).waitFor(); await shot('12-setup-checked');
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByRole('heading', { name: 'Connected' }).waitFor(); await shot('12-setup-done');
  await page.goto(`${broker.url}/admin/sources`);
  await page.getByRole('button', { name: 'Test sign-in with Corp SSO' }).click();
  await fillLogin(page, 'carol', e2e.passwordOf('carol'));
  await page.getByRole('heading', { name: 'Sign-ins' }).waitFor();
  await page.getByRole('link', { name: /Carol/ }).first().click();
  await page.getByRole('heading', { name: /Carol/ }).waitFor();
  await page.getByRole('button', { name: 'See what it comes to' }).click();
  await page.getByRole('button', { name: 'Use this mapping' }).waitFor(); await shot('9-sign-in');
  await page.goto(`${broker.url}/admin/sign-ins`); await shot('9-sign-ins');
  await page.getByRole('link', { name: 'Sessions' }).click();
  await page.getByRole('heading', { name: 'Sessions' }).waitFor(); await shot('9-sessions');
  await page.getByRole('link', { name: 'people:' }).first().click();
  await page.getByRole('button', { name: /^End everything/ }).waitFor(); await shot('9-sessions-of');
  await page.getByRole('link', { name: 'Refusals' }).click();
  await page.getByLabel('Encoded authorization message').fill('AQAAAA');
  await page.getByRole('button', { name: 'Explain' }).click(); await shot('9-refusals');
  await page.getByRole('link', { name: 'Audit' }).click();
  await page.locator('summary').nth(1).click(); await shot('9-audit');
  await page.getByRole('button', { name: 'Leave console' }).click();
  await page.getByRole('button', { name: /Open the console as ReadOnly/ }).click();
  await page.goto(`${broker.url}/admin/audit`); await shot('10-refused');
  await page.goto(`${broker.url}/nowhere`); await shot('11-not-found');
  await close();
}
await broker.kill('SIGTERM');
await saml.stop();
process.exit(0);
