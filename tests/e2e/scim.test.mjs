// A company's identity provider fills the directory: real SCIM clients over HTTP, with a token made on the People page.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { axe, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

let broker, passwords, admin, token;
const browsers = [];

async function browser() {
  const opened = await launch();
  browsers.push(opened);
  return opened.page;
}

const signIn = (page, user, password) => e2e.signInByPassword(page, broker, user, password);

function scim(method, place, body, bearer = token) {
  const headers = { authorization: `Bearer ${bearer}`, 'content-type': 'application/scim+json' };
  return fetch(`${broker.url}/scim/v2${place}`, { method, headers, body: body && JSON.stringify(body) });
}

// The client runs beside this process, which has a browser to serve.
async function client(...words) {
  const { code, stdout, stderr } = await e2e.start(process.env.E2E_PYTHON, [path.join(e2e.root, 'tests/e2e/scim.py'), ...words]).ended;
  assert.equal(code, 0, stdout + stderr);
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

before(async () => {
  ({ broker, passwords } = await e2e.demo());
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
});

test('an administrator makes a token, which is shown once', async () => {
  admin = await browser();
  await signIn(admin, 'jane@example.com', passwords['jane@example.com']);
  await admin.getByRole('button', { name: /Open the console as Administrator in Example Corp/ }).click();
  await admin.getByRole('link', { name: 'People' }).click();
  const card = admin.locator('#scim');
  assert.equal(await admin.locator('#scim-address').innerText(), `${broker.url}/scim/v2`);
  await card.getByLabel('Name of the new token').fill('Entra ID');
  await card.getByRole('button', { name: 'Make a token' }).click();
  token = await admin.locator('#token').innerText();
  assert.match(token, /^dpscim_[a-z2-7]{12}_[\w-]{43}$/);
  assert.deepEqual(await axe(admin), []);
  await admin.goto(`${broker.url}/admin/people`);
  assert.ok(!(await admin.content()).includes(token));
  await card.getByText('people and groups', { exact: true }).waitFor();
});

test('what goes wrong is said in SCIM’s own words', async () => {
  const problem = async (answer) => ({ status: answer.status, type: answer.headers.get('content-type'), ...(await answer.json()) });
  const none = await fetch(`${broker.url}/scim/v2/Users`);
  assert.equal(none.headers.get('www-authenticate'), 'Bearer');
  assert.equal((await problem(none)).status, '401');
  for (const wrong of ['', 'x', `${token}x`, token.slice(0, -1), token.replace(/_[a-z2-7]{12}_/, '_aaaaaaaaaaaa_')]) {
    assert.equal((await scim('GET', '/Users', undefined, wrong)).status, 401, wrong);
  }
  const nowhere = await problem(await scim('GET', '/Nothing'));
  assert.deepEqual([nowhere.type, nowhere.status, nowhere.schemas], ['application/scim+json', '404', ['urn:ietf:params:scim:api:messages:2.0:Error']]);
  assert.equal((await problem(await scim('GET', '/Users?filter=userName%20like%20%22x%22'))).scimType, 'invalidFilter');
  assert.equal((await problem(await scim('POST', '/Users', { userName: 'x' }))).scimType, 'invalidSyntax');
  const twin = { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName: 'JANE@example.com' };
  assert.equal((await problem(await scim('POST', '/Users', twin))).scimType, 'uniqueness');
  // A token opens nothing else.
  const elsewhere = await fetch(broker.url, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'x-amz-target': 'x' } });
  assert.ok(elsewhere.status >= 400);
});

test('entity tags say whether something has changed', async () => {
  const made = await scim('POST', '/Groups', { schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'], displayName: 'tagged' });
  assert.equal(made.status, 201);
  const tag = made.headers.get('etag');
  const place = new URL(made.headers.get('location')).pathname.replace('/scim/v2', '');
  const headers = { authorization: `Bearer ${token}` };
  const same = await fetch(`${broker.url}/scim/v2${place}`, { headers: { ...headers, 'if-none-match': tag } });
  assert.deepEqual([same.status, await same.text()], [304, '']);
  const stale = await fetch(`${broker.url}/scim/v2${place}`, { method: 'DELETE', headers: { ...headers, 'if-match': 'W/"99"' } });
  assert.equal(stale.status, 412);
  const gone = await fetch(`${broker.url}/scim/v2${place}`, { method: 'DELETE', headers: { ...headers, 'if-match': tag } });
  assert.equal(gone.status, 204);
});

test('a compliance suite finds nothing', async () => {
  const { counted, bad } = await client('check', `${broker.url}/scim/v2`, token);
  // Somebody is active or not: without a value, nobody would know which.
  assert.deepEqual(bad.map(({ reason }) => reason), ["PATCH modify() did not remove attribute 'active'"]);
  assert.ok(counted.SUCCESS > 100, JSON.stringify(counted));
});

// The numbers of the issue are `SCIM_USERS=10000 SCIM_GROUPS=1000`.
test('a company comes, is renamed, and goes', async (context) => {
  const seconds = await client('fill', `${broker.url}/scim/v2`, token, process.env.SCIM_USERS ?? '300', process.env.SCIM_GROUPS ?? '30');
  context.diagnostic(JSON.stringify(seconds));
});

test('who is switched off there holds nothing here any more', async () => {
  const person = { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName: 'lee@example.com', displayName: 'Lee', emails: [{ value: 'lee@example.com' }] };
  const lee = await (await scim('POST', '/Users', person)).json();
  const group = { schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'], displayName: 'from-scim', members: [{ value: lee.id }] };
  assert.equal((await scim('POST', '/Groups', group)).status, 201);
  await admin.goto(`${broker.url}/admin/people?text=lee`);
  await admin.locator(`#${lee.id} > details > summary`).click();
  await admin.locator(`#${lee.id}`).getByText('by SCIM').waitFor();
  await admin.locator(`#${lee.id}`).getByRole('button', { name: 'Make a link to set a password' }).click();
  const page = await browser();
  await page.goto(await admin.locator('#link').innerText());
  await page.getByLabel('New password').fill('three otters by the weir');
  await page.getByRole('button', { name: 'Set it' }).click();
  await signIn(page, 'lee@example.com', 'three otters by the weir');
  await page.getByRole('heading', { name: 'No role lets you in yet' }).waitFor();
  const patch = { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations: [{ op: 'Replace', path: 'active', value: 'False' }] };
  assert.equal((await scim('PATCH', `/Users/${lee.id}`, patch)).status, 200);
  await page.goto(`${broker.url}/portal`);
  assert.match(page.url(), /\/sign-in/);
  await signIn(page, 'lee@example.com', 'three otters by the weir');
  await page.getByText('The name or the password is not right.').waitFor();
});

test('a token that is removed opens nothing', async () => {
  await admin.goto(`${broker.url}/admin/people#scim`);
  await admin.getByRole('button', { name: 'Remove the token Entra ID' }).click();
  await admin.waitForLoadState();
  assert.equal((await scim('GET', '/Users')).status, 401);
});
