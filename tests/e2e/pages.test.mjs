// Every page in light and dark, at several widths: nothing that axe finds, nothing on the console, nothing that the content security
// policy stops. Pictures for people to look at are in target/screenshots (or E2E_SCREENSHOTS).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { axe, fillLogin, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const out = process.env.E2E_SCREENSHOTS ?? path.join(e2e.root, 'target/screenshots');
// Titles of pages that were seen, and of those that can't be held still.
const seen = new Set();
const PASSING = ['hand_over.html', 'onward.html'];
// Titles that say nothing of the page: one that it has in these tests.
const NAMED = { 'admin/role.html': 'Administrator', 'error.html': 'Not found', 'admin/guardrail.html': 'Guardrail KeepTheAudit-light' };
let broker, saml, passwords;
// The command line of somebody else.
const sams = { DAYPASS_HOME: e2e.folder() };

before(async () => {
  fs.mkdirSync(out, { recursive: true });
  broker = new e2e.Broker(await e2e.freePort());
  // Passkeys belong to a name; an address has none.
  broker.url = `http://localhost:${broker.port}`;
  saml = await e2e.testbed('idp-simplesamlphp.sh');
  const document = e2e.organization({ metadataFile: saml.info.IDP_METADATA_FILE, issuer: 'http://127.0.0.1:1', clientSecret: 'x' });
  const corp = document.match(/\[\[identity_sources\]\]\nname = "corp"[^]*?(?=\[\[identity_sources\]\]\nname = "cloud")/)[0].replace('type = "saml"', 'type = "saml"\nallow_idp_initiated = true');
  const demo = fs.readFileSync(path.join(e2e.root, 'config/demo.toml'), 'utf8');
  ({ passwords } = broker.apply(demo.replace(/\[\[identity_sources\]\][^[]*/, (own) => `${own}\n${corp}`), '--new-passwords'));
  await broker.start();
  fs.writeFileSync(path.join(out, 'sp.xml'), await (await fetch(`${broker.url}/saml/metadata`)).text());
  saml.command('add-sp', path.join(out, 'sp.xml'));
  const { page, close } = await launch();
  sams.DAYPASS_URL = broker.url;
  await e2e.signInDirectory(page, broker, 'sam@example.com', passwords['sam@example.com']);
  await e2e.daypassLogin(page, sams);
  await close();
});

after(async () => {
  await broker?.kill('SIGTERM');
  await saml?.stop();
});

async function register() {
  const post = async (place, body) => (await fetch(`${broker.url}${place}`, { method: 'POST', body: JSON.stringify(body) })).json();
  const client = await post('/client/register', { clientName: 'aws-cli', clientType: 'public', redirectUris: ['http://127.0.0.1/oauth/callback'], grantTypes: ['authorization_code', 'refresh_token'], issuerUrl: broker.url, scopes: ['sso:account:access'] });
  const device = await post('/device_authorization', { clientId: client.clientId, clientSecret: client.clientSecret, startUrl: broker.url });
  return { client, device };
}

// A device code that is asked for from another address of this machine.
function askFromElsewhere({ clientId, clientSecret }) {
  return new Promise((resolve, reject) => {
    const asked = http.request({ host: '127.0.0.1', port: broker.port, path: '/device_authorization', method: 'POST', localAddress: '127.0.0.2' }, async (answer) => {
      resolve(JSON.parse((await answer.toArray()).join('')));
    });
    asked.on('error', reject).end(JSON.stringify({ clientId, clientSecret, startUrl: broker.url }));
  });
}

// Each look is clicked through at its first width, and each page of it looked at in the others, too. 640 is what a window of
// 1280 shows at 200 % zoom.
const looks = [
  ['light', { colorScheme: 'light' }, [1280, 640]],
  ['dark', { colorScheme: 'dark' }, [1280, 820, 360]],
  ['phone', { colorScheme: 'light' }, [360]],
];
for (const [look, colors, widths] of looks) test(`every page in ${look}`, async () => {
  const size = (width) => ({ width, height: width > 400 ? 800 : 740 });
  const options = { ...colors, viewport: size(widths[0]) };
  const problems = [];
  const open = async () => {
    const opened = await launch(options);
    const { page } = opened;
    // A status is no problem of the page's.
    page.on('console', (message) => message.type() === 'error' && !message.text().startsWith('Failed to load resource') && problems.push(`${page.url()}: ${message.text()}`));
    page.on('pageerror', (error) => problems.push(`${page.url()}: ${error}`));
    const shot = async (name) => {
      seen.add((await page.title()).replace(/ · Daypass$/, ''));
      for (const width of widths) {
        if (widths.length > 1) await page.setViewportSize(size(width));
        await page.screenshot({ path: path.join(out, `${name}-${look}-${width}.png`), fullPage: true });
        for (const violation of await axe(page)) problems.push(`${name} at ${width}: ${violation.id}: ${violation.nodes.join(', ')}`);
        const wide = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
        if (wide > 0) problems.push(`${name} at ${width}: ${wide} pixels too wide`);
      }
      if (widths.length > 1) await page.setViewportSize(size(widths[0]));
    };
    return { ...opened, shot };
  };
  const { page, shot, close } = await open();
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
  const { client, device } = await register();
  await page.goto(`${broker.url}/device`); await shot('5-device');
  await page.goto(`${broker.url}/device?user_code=${device.userCode}`); await shot('5-device-asked');
  const says = async (...words) => { for (const text of words) assert.ok((await page.locator('main').innerText()).includes(text), text); };
  await says('aws-cli', '127.0.0.1', 'Jane Doe', 'every role you can take', device.userCode);
  assert.equal(await page.getByText('That is another network').count(), 0);
  await page.goto(`${broker.url}/device?user_code=${(await askFromElsewhere(client)).userCode}`);
  await page.getByText('That is another network than this browser’s').waitFor(); await shot('5-device-elsewhere');
  const query = new URLSearchParams({ response_type: 'code', client_id: client.clientId, redirect_uri: 'http://127.0.0.1:1/oauth/callback', state: 'x', code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256', scopes: 'sso:account:access' });
  await page.goto(`${broker.url}/authorize?${query}`); await shot('5-authorize');
  await says('aws-cli', 'Jane Doe', 'every role you can take');
  const login = new URLSearchParams({ response_type: 'code', client_id: 'arn:aws:signin:::devtools/cross-device', redirect_uri: `${broker.url}/v1/sessions/confirmation`, state: 'x', code_challenge: query.get('code_challenge'), code_challenge_method: 'SHA-256', scope: 'openid' });
  await page.goto(`${broker.url}/v1/authorize?${login}`); await shot('5-login');
  await says('aws login', 'Jane Doe', 'in one role');
  await page.getByRole('button', { name: 'Use this role: Developer' }).click();
  await page.locator('#code').waitFor(); await shot('5-login-code');
  await page.goto(`${broker.url}/portal`);
  await page.getByRole('button', { name: /Open the console as Administrator/ }).click();
  await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor(); await shot('6-roles');
  await page.getByRole('link', { name: 'Administrator', exact: true }).click(); await shot('7-role');
  await page.getByLabel('Values').first().fill('admins\ndevelopers');
  await page.getByRole('button', { name: 'Preview', exact: true }).click();
  await page.getByText('1 gain it').waitFor(); await shot('7-role-preview');
  await page.getByRole('button', { name: 'Edit as JSON' }).click(); await shot('7-role-json');
  const go = async (place, name) => { await page.goto(`${broker.url}${place}`); await shot(name); };
  await go('/admin/roles/new', '7-role-new');
  await go('/admin/roles/Administrator/policies/new', '7-policy');
  await go('/admin/mapping', '15-mapping');
  await go('/admin/mapping?view=matrix', '15-matrix');
  await go('/admin/proposals', '15-approvals');
  await page.goto(`${broker.url}/admin/try?search=sam`);
  await page.getByRole('link', { name: 'Sam Lee' }).click();
  await page.locator('.event summary').last().click(); await shot('15-try');
  await go('/admin/accounts', '16-accounts');
  await page.getByRole('link', { name: 'Workloads' }).click(); await shot('16-accounts-unit');
  await page.getByRole('link', { name: 'Production' }).click(); await shot('16-account');
  await page.goto(`${broker.url}/admin/guardrails/new`);
  await page.getByLabel('Name').fill(`KeepTheAudit-${look}`);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByLabel('Attach it to').selectOption({ label: 'Unit Workloads' });
  await page.getByRole('button', { name: 'Attach' }).click();
  await page.getByText('It binds 2 accounts').waitFor(); await shot('16-guardrail');
  await go('/admin/guardrails', '16-guardrails');
  await page.goto(`${broker.url}/admin/permission-sets`);
  await page.getByLabel('Name').fill(`Reader-${look}`);
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByLabel('Every account below').check();
  await page.getByRole('button', { name: 'Assign' }).click();
  await page.getByText('on every account').waitFor(); await shot('16-permission-set');
  await go('/admin/permission-sets', '16-permission-sets');
  await go('/admin/findings', '17-findings');
  await go('/admin/settings', '17-settings');
  await go('/admin/help', '17-help');
  await page.goto(`${broker.url}/admin/roles/Administrator`);
  await page.getByRole('link', { name: 'Dry-run first' }).click();
  await page.getByLabel('Identity provider').selectOption({ index: 1 });
  await page.getByLabel('Claims, as condition keys (JSON)').fill('{"directory:groups": ["Admins"]}');
  await page.getByRole('button', { name: 'Dry-run' }).click(); await shot('8-dry-run');
  await page.goto(`${broker.url}/oidc/cloud/callback?state=x`); await shot('9-failed');
  await page.goto(`${broker.url}/admin/sources`);
  await page.locator('#text').fill(fs.readFileSync(saml.info.IDP_METADATA_FILE, 'utf8'));
  await page.getByRole('button', { name: 'See what it comes to' }).click();
  await page.getByRole('heading', { name: 'Understood' }).waitFor();
  await page.getByText('What the provider needs of us').first().click(); await shot('9-sources');
  await page.getByLabel('Name in addresses').nth(1).fill(`partner-${look}`);
  await page.getByLabel('Text of its button').nth(1).fill('Partner SSO');
  await page.getByRole('button', { name: 'Make a setup link' }).click();
  const link = await page.locator('#link').innerText(); await shot('9-sources-link');
  await page.goto(link); await shot('12-setup');
  await page.locator('#text').fill(fs.readFileSync(saml.info.IDP_METADATA_FILE, 'utf8').replaceAll(saml.info.IDP_ENTITY_ID, `https://partner.test/${look}`));
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
  await page.getByRole('link', { name: 'People', exact: true }).click();
  await page.getByText('Jane Doe').first().click(); await shot('9-people');
  await page.locator('#scim').getByLabel('Name of the new token').fill(`Entra ID, ${look}`);
  await page.getByRole('button', { name: 'Make a token' }).click();
  await page.locator('#token').waitFor(); await shot('9-people-token');
  const sam = page.locator('li').filter({ hasText: 'sam@example.com' });
  await sam.locator('summary').first().click();
  await sam.getByRole('button', { name: /Make a link/ }).click();
  const setPassword = await page.locator('#link').innerText();
  await page.getByRole('link', { name: 'Refusals' }).click();
  await page.getByLabel('Encoded authorization message').fill('AQAAAA');
  await page.getByRole('button', { name: 'Explain' }).click(); await shot('9-refusals');
  await page.getByRole('link', { name: 'Audit' }).click();
  await page.locator('summary').nth(1).click(); await shot('9-audit');
  await page.getByRole('link', { name: 'This event alone' }).first().click();
  await page.getByRole('heading', { name: 'Decision' }).waitFor(); await shot('9-event');
  await page.getByRole('button', { name: 'Leave console' }).click();
  await page.getByRole('button', { name: /Open the console as ReadOnly/ }).click();
  await page.waitForURL(/\/admin/);
  await page.goto(`${broker.url}/admin/audit`); await shot('10-refused');
  await page.goto(`${broker.url}/admin/roles/ReadOnly`); await shot('10-not-allowed');
  await page.goto(`${broker.url}/portal/console?role=222233334444%2FReadOnly`); await shot('11-bookmark');
  await page.goto(e2e.run(e2e.daypass, ['console', 'sandbox', '--print'], { env: sams }).stdout.trim());
  await page.getByText('by a link of somebody else’s').waitFor(); await shot('11-bookmark-offered');
  await page.goto(`${broker.url}/nowhere`); await shot('11-not-found');
  await page.goto(`${broker.url}/sign-in-with-passkey`); await shot('13-passkey');
  await page.goto(`${broker.url}/security`); await shot('13-security-none');
  await page.getByRole('link', { name: 'Set one up' }).click();
  await page.getByRole('heading', { name: 'Set up a second factor' }).waitFor(); await shot('13-enrol');
  await page.getByLabel('The code it shows').fill(e2e.totp(await page.locator('.seed').innerText()));
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'I have them; continue' }).waitFor(); await shot('13-recovery-codes');
  await page.getByRole('button', { name: 'I have them; continue' }).click();
  const other = await open();
  await other.page.goto(`${broker.url}/sign-in/people`);
  await other.page.getByLabel('User name or e-mail').fill('jane@example.com');
  await other.page.getByLabel('Password', { exact: true }).fill(passwords['jane@example.com']);
  await other.page.getByRole('button', { name: 'Sign in' }).click();
  await other.page.getByLabel('Code of your').waitFor();
  await other.shot('13-second-factor');
  await other.close();
  await page.goto(`${broker.url}/security`); await shot('13-security');
  await page.getByRole('button', { name: 'Remove Authenticator app' }).click();
  await page.getByText('You have none here').waitFor();
  // An hour later, a first factor wants a fresh sign-in.
  await broker.kill('SIGTERM');
  await broker.start(e2e.clockAhead(3600));
  await page.goto(`${broker.url}/second-factor/enrol`); await shot('13-again');
  await broker.kill('SIGTERM');
  await broker.start();
  await page.goto(setPassword); await shot('14-set-password');
  await page.goto(`${broker.url}/signed-out`); await shot('14-signed-out');
  await close();
  assert.deepEqual(problems, []);
});

test('no page was left out', () => {
  const folder = path.join(e2e.root, 'templates');
  const pages = fs.readdirSync(folder, { recursive: true }).filter((file) => file.endsWith('.html'));
  const titles = pages.map((file) => [file, fs.readFileSync(path.join(folder, file), 'utf8').match(/\{% block title %\}([^]*?)\{% endblock %\}/)?.[1]]);
  const dynamic = (title) => new RegExp(`^${title.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{\{.*?\}\}/g, '.+')}$`);
  const missing = titles.filter(([file, title]) => title && !PASSING.includes(file) && ![...seen].some((one) => dynamic(NAMED[file] ?? title).test(one)));
  assert.deepEqual(missing, []);
});
