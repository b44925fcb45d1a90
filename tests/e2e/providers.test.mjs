// Real identity providers in all their moods: what they sign and encrypt, how our client authenticates, keys that change,
// restarts, sign-outs both ways.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fillLogin, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const ACCOUNT = '111122223333';
const GROUPS = 'http://schemas.xmlsoap.org/claims/Group';
const SAML = {
  assertion: { script: 'idp-simplesamlphp.sh', options: ['--sign', 'assertion', '--require-signed'] },
  response: { script: 'idp-simplesamlphp.sh', options: ['--sign', 'response', '--sig-alg', 'sha384'] },
  both: { script: 'idp-simplesamlphp.sh', options: ['--sign', 'both', '--sig-alg', 'sha512'] },
  encrypted: { script: 'idp-simplesamlphp.sh', options: ['--sign', 'assertion', '--encrypt', '--encrypt-nameid'], settings: 'post_requests = true' },
  legacy: { script: 'idp-simplesamlphp.sh', options: ['--sig-alg', 'sha1'], settings: 'allow_sha1 = true' },
  samlp: { script: 'idp-samlp.sh', options: ['--sign', 'both', '--require-signed'], groups: GROUPS, settings: 'allow_idp_initiated = true' },
  p256: { script: 'idp-pysaml2.sh', options: ['--curve', 'P-256'] },
  p384: { script: 'idp-pysaml2.sh', options: ['--curve', 'P-384'] },
  p521: { script: 'idp-pysaml2.sh', options: ['--curve', 'P-521'] },
  samlpgcm: { script: 'idp-samlp.sh', options: ['--encrypt', '--entity-id', 'urn:testbed:samlp:gcm'], groups: GROUPS },
};
const OIDC = {
  basic: { client: 'rp-basic', settings: 'client_authentication = "client_secret_basic"' },
  post: { client: 'rp-post', settings: 'client_authentication = "client_secret_post"' },
  jwt: { client: 'rp-jwt', settings: 'client_authentication = "private_key_jwt"', secret: false },
  public: { client: 'rp-public', secret: false },
  es256: { client: 'rp-es256', settings: 'algorithms = ["ES256"]' },
  ps256: { client: 'rp-ps256', settings: 'algorithms = ["PS256"]' },
  eddsa: { client: 'rp-eddsa', settings: 'algorithms = ["EdDSA"]' },
  mfa: { client: 'rp-basic', settings: 'acr_values = ["urn:testbed:acr:mfa"]\nmax_age_seconds = 600' },
};

let broker, oidc, social;
const browsers = [];
const idps = {};

async function browser() {
  const opened = await launch();
  browsers.push(opened);
  return opened;
}

const trust = (resource, action, key, values) => JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Sid: 'In', Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${ACCOUNT}:${resource}` }, Action: action, Condition: { 'ForAnyValue:StringEquals': { [key]: values } } }],
});

function organization() {
  const source = (name, type, lines) => `[[identity_sources]]\nname = "${name}"\ntype = "${type}"\n${lines}\n`;
  const role = (name, policy) => `[[roles]]\naccount = "${ACCOUNT}"\nname = "${name}"\ntrust_policy = '''${policy}'''\n`;
  const parts = [`[organization]\nname = "Providers"\nmanagement_account = "${ACCOUNT}"\n[[accounts]]\nid = "${ACCOUNT}"\nname = "Main"\n`];
  for (const [name, { groups = 'groups', settings = '' }] of Object.entries(SAML)) {
    parts.push(source(name, 'saml', `metadata_url = "${idps[name].info.IDP_METADATA_URL}"\n${settings}\n[identity_sources.attributes]\ngroups = "${groups}"`));
    parts.push(role(`In-${name}`, trust(`saml-provider/${name}`, 'sts:AssumeRoleWithSAML', 'saml:groups', 'developers')));
  }
  const issuer = oidc.info.OP_ISSUER;
  const key = issuer.replace(/^https?:\/\//, '');
  for (const [name, { client, settings = '', secret = true }] of Object.entries(OIDC)) {
    // One issuer stands once in an account: the clients take turns.
    parts.push({ name, text: source('cloud', 'oidc', `issuer = "${issuer}"\nclient_id = "${client}"\n${secret ? `client_secret = "${oidc.info.OP_CLIENT_SECRET}"\n` : ''}scopes = ["profile", "email", "groups"]\n${settings}`) });
  }
  parts.push(role('In-cloud', trust(`oidc-provider/${key}`, 'sts:AssumeRoleWithWebIdentity', `${key}:groups`, 'developers')));
  const hub = social.info.SOCIAL_API_URL.replace(/^https?:\/\//, '');
  const at = social.info.SOCIAL_API_URL;
  const api = `[identity_sources.oauth2]\nauthorization_endpoint = "${social.info.SOCIAL_AUTHORIZE_URL}"\ntoken_endpoint = "${social.info.SOCIAL_TOKEN_URL}"\nuser_endpoint = "${at}/user"\nemails_endpoint = "${at}/user/emails"\nteams_endpoint = "${at}/user/teams"\norganizations_endpoint = "${at}/user/orgs"`;
  parts.push(source('hub', 'oauth2', `issuer = "${at}"\nscopes = ["read:user", "user:email", "read:org"]\nclient_id = "${social.info.SOCIAL_CLIENT_ID}"\nclient_secret = "${social.info.SOCIAL_CLIENT_SECRET}"\n${api}`));
  parts.push(role('In-hub', trust(`oidc-provider/${hub}`, 'sts:AssumeRoleWithWebIdentity', `${hub}:groups`, 'corp/developers')));
  return (which) => parts.map((part) => (typeof part === 'string' ? part : part.name === which ? part.text : '')).join('\n');
}
let document;

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  const jwtClient = JSON.stringify({
    client_id: 'rp-jwt', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks_uri: `${broker.url}/oidc/jwks`,
    redirect_uris: [`${broker.url}/oidc/cloud/callback`], grant_types: ['authorization_code'], response_types: ['code'], scope: 'openid profile email groups',
  });
  const starts = Object.entries(SAML).map(async ([name, { script, options }]) => {
    idps[name] = await e2e.testbed(script, '--host', `${name}.localhost`, '--nameid', 'email', ...options);
  });
  starts.push((async () => {
    oidc = await e2e.testbed('op-panva.sh', '--redirect-uri', `${broker.url}/oidc/cloud/callback`, '--post-logout-uri', `${broker.url}/signed-out`,
      '--backchannel-logout-uri', `${broker.url}/oidc/cloud/backchannel-logout`, '--client', jwtClient);
  })());
  starts.push((async () => {
    social = await e2e.testbed('oauth2-social.sh', '--host', 'hub.localhost', '--kind', 'github', '--extra-teams', '150', '--redirect-uri', `${broker.url}/oidc/hub/callback`);
  })());
  await Promise.all(starts);
  document = organization();
  broker.apply(document('basic'));
  await broker.start();
  const metadata = path.join(e2e.folder(), 'sp.xml');
  fs.writeFileSync(metadata, await (await fetch(`${broker.url}/saml/metadata`)).text());
  for (const idp of Object.values(idps)) idp.command('add-sp', metadata);
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
  await Promise.all([...Object.values(idps), oidc, social].map((service) => service?.stop()));
});

// Runs a step; a failure shows where the browser stood.
async function on(page, step) {
  try {
    return await step();
  } catch (error) {
    const shown = await page.locator('body').innerText().catch(() => 'nothing');
    throw new Error(`${error.message}\nat ${page.url()}:\n${shown.slice(0, 1500)}\n${broker.running.output.stderr.slice(-1500)}`);
  }
}

async function signIn(page, source, user = 'carol') {
  return on(page, async () => {
    await page.goto(`${broker.url}/sign-in/${source}`);
    await fillLogin(page, user, e2e.passwordOf(user));
    await page.getByRole('heading', { name: 'Your roles' }).waitFor();
    return e2e.offeredRoles(page);
  });
}

for (const name of Object.keys(SAML)) {
  test(`SAML: ${SAML[name].script} ${SAML[name].options.join(' ')}`, async () => {
    const { page } = await browser();
    assert.deepEqual(await signIn(page, name), [`${ACCOUNT}/In-${name}`]);
  });
}

for (const name of ['both', 'encrypted']) {
  test(`SAML: signing out here signs out at the provider, and the other way round (${name})`, async () => {
    const { page } = await browser();
    await signIn(page, name);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await on(page, () => page.getByRole('heading', { name: 'You are signed out' }).waitFor());
    await page.goto(`${broker.url}/sign-in/${name}`);
    await page.locator('input[type=password]').waitFor(); // The provider asks again.
    await signIn(page, name);
    const provider = new URL(idps[name].info.IDP_SLO_URL);
    await page.goto(`${provider.origin}/simplesaml/saml2/idp/initSLO.php?RelayState=${encodeURIComponent(`${provider.origin}/simplesaml/logout.php`)}`);
    await e2e.until('the provider ended our session', async () => {
      await page.goto(`${broker.url}/portal`);
      return page.url().includes('/sign-in');
    });
  });
}

test('SAML: a sign-in that begins at the provider is confirmed by the person, where it is allowed', async () => {
  const { page } = await browser();
  const initiate = (name) => idps[name].info.IDP_INITIATED_URL
    .replace('SP_ENTITY_ID', encodeURIComponent(`${broker.url}/saml/metadata`)).replace('URL', encodeURIComponent('https://evil.example/'));
  await page.goto(initiate('samlp'));
  await fillLogin(page, 'carol', e2e.passwordOf('carol'));
  await page.getByRole('heading', { name: 'Sign in as carol@corp.test?' }).waitFor();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  const other = await browser();
  await other.page.goto(initiate('both'));
  await fillLogin(other.page, 'carol', e2e.passwordOf('carol'));
  await other.page.getByText('This sign-in has expired or was not begun here').waitFor();
});

test('SAML: the provider rolls its certificate over, and nobody is kept out', async () => {
  const idp = idps.assertion;
  for (const step of ['announce', 'switch', 'finish']) {
    idp.command('rollover', step);
    // Published metadata is fetched at every start.
    if (step !== 'switch') {
      await broker.kill('SIGTERM');
      await broker.start();
      await e2e.until('the metadata was renewed', () => broker.running.output.stderr.includes('metadata has changed'));
    }
    const { page } = await browser();
    assert.deepEqual(await signIn(page, 'assertion'), [`${ACCOUNT}/In-assertion`], step);
  }
});

for (const name of Object.keys(OIDC)) {
  test(`OIDC: ${OIDC[name].client} ${OIDC[name].settings ?? ''}`, async () => {
    broker.apply(document(name));
    const { page } = await browser();
    await e2e.until('the broker follows the document', async () => (await fetch(`${broker.url}/sign-in/cloud`, { redirect: 'manual' })).headers.get('location')?.includes(OIDC[name].client));
    assert.deepEqual(await signIn(page, 'cloud'), [`${ACCOUNT}/In-cloud`]);
  });
}

// An unknown key makes the broker look again, at most every thirty seconds.
async function signInWithin(page, seconds) {
  return e2e.until('a sign-in', async () => {
    await page.goto(`${broker.url}/sign-in/cloud`).catch(() => {});
    if (await page.locator('input[type=password]').count()) await fillLogin(page, 'carol', e2e.passwordOf('carol'));
    await page.waitForLoadState();
    return (await page.getByRole('heading', { name: 'Your roles' }).count()) && e2e.offeredRoles(page);
  }, seconds * 1000);
}

test('OIDC: requests are pushed, and keys change under the broker', async () => {
  broker.apply(document('basic'));
  const where = await e2e.until('the broker follows the document', async () => {
    const location = (await fetch(`${broker.url}/sign-in/cloud`, { redirect: 'manual' })).headers.get('location');
    return location?.includes('rp-basic') && location;
  });
  assert.deepEqual([...new URL(where).searchParams.keys()].sort(), ['client_id', 'request_uri'], 'nothing but a name is in the address');
  await fetch(oidc.info.OP_CONTROL_URL, { method: 'POST', body: JSON.stringify({ rotate: 'hard' }) });
  const { page } = await browser();
  assert.deepEqual(await signInWithin(page, 60), [`${ACCOUNT}/In-cloud`]);
});

test('OIDC: signing out here signs out at the provider, and its back channel ends our session', async () => {
  const { page, context } = await browser();
  await signIn(page, 'cloud');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await on(page, () => page.getByRole('button', { name: 'Yes, sign me out' }).click());
  await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
  await signIn(page, 'cloud');
  // Somebody signs out at the provider itself: its server tells ours.
  const provider = await context.newPage();
  await provider.goto(`${oidc.info.OP_ISSUER}/session/end`);
  await provider.getByRole('button', { name: 'Yes, sign me out' }).click();
  await e2e.until('the provider ended our session', async () => {
    await page.goto(`${broker.url}/portal`);
    return page.url().includes('/sign-in');
  });
});

test('OIDC: the provider is gone, comes back with other keys, and people sign in again', async () => {
  const port = new URL(oidc.info.OP_ISSUER).port;
  await oidc.stop();
  const { page } = await browser();
  await page.goto(`${broker.url}/sign-in/cloud`);
  await page.getByText('The identity provider could not be reached.').waitFor();
  oidc = await e2e.testbed('op-panva.sh', '--port', port, '--redirect-uri', `${broker.url}/oidc/cloud/callback`);
  broker.apply(organization()('basic'));
  assert.deepEqual(await signInWithin(page, 60), [`${ACCOUNT}/In-cloud`]);
});

test('GitHub-like: teams over several pages become groups, and only a verified address is one', async () => {
  const { page } = await browser();
  assert.deepEqual(await signIn(page, 'hub'), [`${ACCOUNT}/In-hub`]);
  const other = await browser();
  await other.page.goto(`${broker.url}/sign-in/hub`);
  await fillLogin(other.page, 'mallory', e2e.passwordOf('mallory'));
  await other.page.getByRole('heading', { name: 'No role lets you in yet' }).waitFor();
  assert.doesNotMatch(await other.page.locator('body').innerText(), /alice@corp\.test/);
});
