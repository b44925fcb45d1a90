// boto3 with a real identity provider's assertion and a real provider's ID token; and everything that must be refused.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { createHash, randomBytes } from 'node:crypto';
import { launch, fillLogin } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const { MANAGEMENT, WORKLOADS } = e2e;
let broker, saml, oidc, passwords, browser;

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  [saml, oidc] = await Promise.all([
    e2e.testbed('idp-simplesamlphp.sh', '--sign', 'both', '--nameid', 'email'),
    e2e.testbed('op-panva.sh', '--redirect-uri', 'http://127.0.0.1:1/callback', '--claims-in-id-token'),
  ]);
  const document = e2e.organization({
    metadataFile: saml.info.IDP_METADATA_FILE, issuer: oidc.info.OP_ISSUER, clientSecret: oidc.info.OP_CLIENT_SECRET,
  });
  ({ passwords } = broker.apply(document, '--new-passwords'));
  await broker.start();
  const metadata = await (await fetch(`${broker.url}/saml/metadata`)).text();
  const file = path.join(e2e.folder(), 'sp.xml');
  fs.writeFileSync(file, metadata);
  saml.command('add-sp', file);
  // Another service provider that has its responses sent to our address.
  fs.writeFileSync(file, metadata.replace(/entityID="[^"]*"/, 'entityID="urn:other:sp"'));
  saml.command('add-sp', file);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await broker?.kill('SIGTERM');
  await Promise.all([saml?.stop(), oidc?.stop()]);
});

const assertion = (sp = `${broker.url}/saml/metadata`, user = 'alice') => e2e.samlAssertion(browser, saml, broker, sp, user);

async function idToken(client = 'rp-public', user = 'alice') {
  // Always by the form: where a session is found, the provider redirects at once, which can't be caught on the way.
  await browser.context.clearCookies();
  const page = await browser.context.newPage();
  const verifier = randomBytes(32).toString('base64url');
  const redirected = new Promise((resolve) => {
    page.route('http://127.0.0.1:1/**', async (route) => {
      const address = new URL(route.request().url());
      await route.fulfill({ body: 'caught' });
      resolve(address);
    });
  });
  const query = new URLSearchParams({
    client_id: client, response_type: 'code', redirect_uri: 'http://127.0.0.1:1/callback', scope: 'openid email groups', state: 's',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
  });
  await page.goto(`${oidc.info.OP_ISSUER}/auth?${query}`);
  await fillLogin(page, user, e2e.passwordOf(user));
  const code = (await redirected).searchParams.get('code');

  const answer = await fetch(`${oidc.info.OP_ISSUER}/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: 'http://127.0.0.1:1/callback', client_id: client, code_verifier: verifier }),
  });
  return (await answer.json()).id_token;
}

const withSaml = (SAMLAssertion, more = {}) => e2e.aws('assume_with_saml', {
  url: broker.url, SAMLAssertion, RoleArn: `arn:aws:iam::${WORKLOADS}:role/SamlDeveloper`,
  PrincipalArn: `arn:aws:iam::${WORKLOADS}:saml-provider/corp`, ...more,
});
const withToken = (WebIdentityToken, more = {}) => e2e.aws('assume_with_web_identity', {
  url: broker.url, WebIdentityToken, RoleArn: `arn:aws:iam::${WORKLOADS}:role/CloudDeveloper`, RoleSessionName: 'ci', ...more,
});

test('assume_role_with_saml: a real assertion gives credentials, once; chaining and durations hold', async () => {
  const response = await assertion();
  const taken = await withSaml(response, { DurationSeconds: 900 });
  assert.equal(taken.AssumedRoleUser.Arn, `arn:aws:sts::${WORKLOADS}:assumed-role/SamlDeveloper/alice@corp.test`);
  assert.equal(taken.Subject, 'alice@corp.test');
  assert.equal(taken.Issuer, saml.info.IDP_ENTITY_ID);
  assert.equal(taken.Audience, `${broker.url}/saml/acs`);
  const qualifier = createHash('sha1').update(`${taken.Issuer}${WORKLOADS}/corp`).digest('base64');
  assert.equal(taken.NameQualifier, qualifier);
  const life = (new Date(taken.Credentials.Expiration) - Date.now()) / 1000;
  assert.ok(life > 800 && life <= 901, `900 s were asked for, ${life} given`);
  const who = await e2e.aws('identity', { url: broker.url, credentials: taken.Credentials });
  assert.equal(who.Arn, taken.AssumedRoleUser.Arn);
  assert.equal(who.UserId, taken.AssumedRoleUser.AssumedRoleId);

  const chained = await e2e.aws('chain', { url: broker.url, credentials: taken.Credentials, RoleArn: `arn:aws:iam::${WORKLOADS}:role/Chained` });
  assert.equal(chained.arn, `arn:aws:sts::${WORKLOADS}:assumed-role/Chained/chained`);
  assert.equal(chained['too long'].code, 'ValidationError');
  assert.equal(chained['not trusted'].code, 'AccessDenied');
  assert.equal(chained['no such role'].code, 'AccessDenied');

  const codes = await e2e.aws('refusals', { url: broker.url, credentials: taken.Credentials });
  assert.deepEqual(Object.fromEntries(Object.entries(codes).map(([name, refusal]) => [name, refusal.code])), {
    good: 'none', 'wrong secret': 'SignatureDoesNotMatch', 'unknown key': 'InvalidClientTokenId', 'tampered token': 'InvalidClientTokenId',
    'no token': 'InvalidClientTokenId', 'tampered body': 'SignatureDoesNotMatch', nobody: 'MissingAuthenticationToken', 'other service': 'AccessDenied',
  });

  const arn = taken.AssumedRoleUser.Arn;
  assert.deepEqual(await e2e.aws('presigned', { url: broker.url, credentials: taken.Credentials }), {
    GET: arn, POST: arn, longer: 'SignatureDoesNotMatch', 'other action': 'SignatureDoesNotMatch', 'other method': 'SignatureDoesNotMatch',
  });

  const again = await withSaml(response);
  assert.equal(again.refused.code, 'InvalidIdentityToken');
});

test('a role the groups do not open, a duration beyond the role: refused, like a role that is not there', async () => {
  const readOnly = await withSaml(await assertion(), { RoleArn: `arn:aws:iam::${WORKLOADS}:role/SamlReadOnly` });
  const nobody = await withSaml(await assertion(), { RoleArn: `arn:aws:iam::${WORKLOADS}:role/Nobody` });
  assert.equal(readOnly.refused.code, 'AccessDenied');
  // The sealed reasons differ, and their length does not.
  const [sealed, other] = [readOnly, nobody].map(({ refused }) => refused.message.split('message: ')[1]);
  assert.equal(sealed.length, other.length);
  assert.deepEqual({ ...nobody.refused, message: nobody.refused.message.replace(other, sealed) }, readOnly.refused);
  assert.equal((await withSaml(await assertion(), { DurationSeconds: 7200 })).refused.code, 'ValidationError');
  assert.equal((await withSaml(await assertion(), { PrincipalArn: `arn:aws:iam::${MANAGEMENT}:saml-provider/corp` })).refused.code, 'AccessDenied');
});

test('a refusal carries its reasons, for the account of the role', async () => {
  const admin = `arn:aws:iam::${MANAGEMENT}:role/DirectoryAdmin`;
  const provider = `arn:aws:iam::${MANAGEMENT}:saml-provider/corp`;
  const { refused } = await withSaml(await assertion(), { RoleArn: admin, PrincipalArn: provider });
  const EncodedMessage = refused.message.split('message: ')[1];
  const decoded = await e2e.aws('decode', { url: broker.url, credentials: await portalCredentials('DirectoryAdmin'), EncodedMessage });
  assert.equal(decoded.allowed, false);
  assert.equal(decoded.context.action, 'sts:AssumeRoleWithSAML');
  assert.equal(decoded.context.resource, admin);
  assert.match(decoded.context.principal.arn, /^corp:alice/);
  const explained = broker.command('explain', EncodedMessage);
  // The same on the console's page, for whoever pastes the whole error.
  const opened = await launch();
  await e2e.signInDirectory(opened.page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await opened.page.getByRole('button', { name: /Open the console as DirectoryAdmin/ }).click();
  await opened.page.getByRole('link', { name: 'Refusals' }).click();
  await opened.page.getByLabel('Encoded authorization message').fill(`An error occurred: ${refused.message}`);
  await opened.page.getByRole('button', { name: 'Explain' }).click();
  await opened.page.getByRole('heading', { name: /corp:alice\S* may not sts:AssumeRoleWithSAML/ }).waitFor();
  await opened.page.getByText('directory:groups').first().waitFor();
  await opened.page.getByLabel('Encoded authorization message').fill('nonsense');
  await opened.page.getByRole('button', { name: 'Explain' }).click();
  await opened.page.getByRole('alert').waitFor();
  // And on anybody's machine, with a role that may read it.
  const env = { DAYPASS_HOME: e2e.folder(), DAYPASS_URL: broker.url, DAYPASS_DATA: '/no/store/here' };
  await e2e.daypassLogin(opened.page, env);
  const asked = (...words) => e2e.run(e2e.daypass, ['explain', ...words], { env }).stdout;
  assert.equal(asked(`An error occurred: ${refused.message}`, 'DirectoryAdmin'), explained);
  assert.equal(JSON.parse(asked(EncodedMessage, 'DirectoryAdmin', '--json')).Explanation?.Resource ?? JSON.parse(asked(EncodedMessage, 'DirectoryAdmin', '--json')).explanation.Resource, admin);
  const wrong = (...words) => e2e.run(e2e.daypass, ['explain', ...words], { env, expect: words[1] === 'NoIam' ? 4 : 1 }).stderr;
  assert.match(wrong(EncodedMessage, 'NoIam'), /NoIam may not sts:DecodeAuthorizationMessage/);
  assert.match(wrong('nonsense', 'DirectoryAdmin'), /no encoded authorization message that this role may read/);
  await opened.close();
  assert.match(explained, /not allowed: corp:alice\S* may not sts:AssumeRoleWithSAML on arn:aws:iam::\d+:role\/DirectoryAdmin/);
});

test('an admin sees who holds which credentials, and ends them', async () => {
  const taken = await withSaml(await assertion());
  const refusal = async () => (await e2e.aws('identity_refusal', { url: broker.url, credentials: taken.Credentials })).code;
  assert.equal(await refusal(), 'none');
  const opened = await launch();
  const { page } = opened;
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await page.getByRole('button', { name: /Open the console as DirectoryAdmin/ }).click();
  await page.getByRole('link', { name: 'Sessions' }).click();
  const line = page.locator('.session', { hasText: taken.Credentials.AccessKeyId });
  await line.getByText('corp:alice').waitFor();
  await line.getByRole('button', { name: /^End SamlDeveloper/ }).click();
  await page.getByRole('status').waitFor();
  assert.equal(await page.getByText(taken.Credentials.AccessKeyId).count(), 0);
  assert.equal(await refusal(), 'ExpiredToken');
  // Everything the person holds, from the link of their name.
  const other = await withSaml(await assertion());
  await page.getByRole('link', { name: 'Sessions' }).click();
  await page.getByRole('link', { name: /^corp:alice/ }).first().click();
  await page.getByRole('button', { name: /^End everything corp:alice/ }).click();
  await page.getByRole('status').waitFor();
  assert.equal((await e2e.aws('identity_refusal', { url: broker.url, credentials: other.Credentials })).code, 'ExpiredToken');
  await opened.close();
});

test('two hours later: credentials, assertion and token have expired, each with the right code', async () => {
  const { Credentials: credentials } = await withSaml(await assertion());
  const [late, token] = [await assertion(), await idToken()];
  const clock = e2e.clockAhead(7200);
  const refusalAt = async (env) => (await e2e.aws('identity_refusal', { url: broker.url, credentials }, env)).code;
  assert.equal(await refusalAt({}), 'none');
  await broker.kill('SIGTERM');
  await broker.start(clock);
  assert.equal(await refusalAt(clock), 'ExpiredToken');
  assert.equal(await refusalAt({}), 'SignatureDoesNotMatch', 'a client whose clock is two hours behind');
  assert.equal((await withSaml(late)).refused.code, 'ExpiredTokenException');
  assert.equal((await withToken(token)).refused.code, 'ExpiredTokenException');
  await broker.kill('SIGTERM');
  await broker.start();
  assert.equal(await refusalAt({}), 'none', 'and back: the restart itself ended nothing');
});

test('forged and misdirected assertions: one answer for the attacker, each its own reason for the admin', async () => {
  const genuine = Buffer.from(await assertion(), 'base64').toString();
  const encode = (xml) => Buffer.from(xml).toString('base64');
  const answers = {
    changed: await withSaml(encode(genuine.replace(/>aws-admins</, '>aws-adminz<'))),
    wrapped: await withSaml(encode(genuine.replace('</samlp:Response>', `${/<saml:Assertion .*<\/saml:Assertion>/s.exec(genuine)[0]}</samlp:Response>`))),
    stripped: await withSaml(encode(genuine.replace(/<ds:Signature .*?<\/ds:Signature>/gs, ''))),
    comment: await withSaml(encode(genuine.replace('alice@corp.test</saml:NameID>', 'alice@corp.test<!---->.evil</saml:NameID>'))),
    entity: await withSaml(encode(genuine.replace(/^(<\?xml[^>]*\?>)?/, '$1<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'))),
    fetched: await withSaml(encode(genuine.replace(/<ds:Reference URI="[^"]*"/, '<ds:Reference URI="http://127.0.0.1:1/x"'))),
    audience: await withSaml(await assertion('urn:other:sp')),
  };
  saml.command('rollover', 'announce');
  saml.command('rollover', 'switch');
  answers['other key'] = await withSaml(await assertion());
  for (const [name, answer] of Object.entries(answers)) {
    assert.equal(answer.refused?.code, 'InvalidIdentityToken', name);
    assert.equal(answer.refused.message, answers.changed.refused.message, name);
  }

  // The admin reads why, in the console.
  const { page } = browser;
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await page.getByRole('button', { name: /Open the console as DirectoryAdmin/ }).click();
  await page.getByRole('link', { name: 'Audit' }).click();
  const reasons = (await page.locator('.event .reason').allInnerTexts()).map((text) => text.split(':')[0]);
  for (const reason of ['assertion_replayed', 'signature_invalid', 'signature_key_unknown', 'audience_wrong', 'document_duplicate_id', 'document_has_markup', 'signature_missing', 'signature_reference']) {
    assert.ok(reasons.includes(reason), `${reason} is not among ${[...new Set(reasons)].join(', ')}`);
  }
});

test('assume_role_with_web_identity: a real ID token gives credentials; wrong ones get the right codes', async () => {
  const token = await idToken();
  const taken = await withToken(token);
  assert.equal(taken.AssumedRoleUser.Arn, `arn:aws:sts::${WORKLOADS}:assumed-role/CloudDeveloper/ci`);
  assert.equal(taken.SubjectFromWebIdentityToken, 'alice');
  assert.equal(taken.Audience, 'rp-public');
  const who = await e2e.aws('identity', { url: broker.url, credentials: taken.Credentials });
  assert.equal(who.Arn, taken.AssumedRoleUser.Arn);

  const [header, payload, signature] = token.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const refused = async (given, more) => (await withToken(given, more)).refused?.code;
  assert.equal(await refused(`${header}.${b64({ ...claims, sub: 'root' })}.${signature}`), 'InvalidIdentityToken');
  assert.equal(await refused(`${b64({ alg: 'none' })}.${payload}.`), 'InvalidIdentityToken');
  assert.equal(await refused(`${header}.${b64({ ...claims, iss: 'https://evil.example' })}.${signature}`), 'InvalidIdentityToken');
  assert.equal(await refused(token, { RoleArn: `arn:aws:iam::${WORKLOADS}:role/CloudReadOnly` }), 'AccessDenied');
  assert.equal(await refused(token, { RoleArn: `arn:aws:iam::${WORKLOADS}:role/Nobody` }), 'AccessDenied');
});

test('IAM, Organizations and CloudTrail through boto3', async () => {
  const credentials = await portalCredentials('DirectoryAdmin');
  const seen = await e2e.aws('iam_tour', { url: broker.url, credentials, account: MANAGEMENT });
  assert.deepEqual(seen, {
    document: true, description: 'a & b < c', inline: ['inline'], 'inline document': true, attached: ['TourPolicy'], listed: true,
    'delete too early': { ...seen['delete too early'], code: 'DeleteConflict', status: 409 },
    twice: { ...seen.twice, code: 'EntityAlreadyExists', status: 409 },
    malformed: { ...seen.malformed, code: 'MalformedPolicyDocument', status: 400 },
    missing: { ...seen.missing, code: 'NoSuchEntity', status: 404 },
    'attached policy': { ...seen['attached policy'], code: 'DeleteConflict', status: 409 },
    gone: 'NoSuchEntity', id: 'AROA', accounts: ['Management', 'Workloads'], 'last event': ['DeleteRole', true],
  });
});

test('Query services answer in JSON to those who ask for it', async () => {
  const ask = async (accept, body) => {
    const headers = { accept, 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await fetch(`${broker.url}/`, { method: 'POST', headers, body });
    return [answer.status, answer.headers.get('content-type'), await answer.text()];
  };
  const identity = 'Action=GetCallerIdentity&Version=2011-06-15';
  const [status, type, text] = await ask('application/json', identity);
  const { Error: error, RequestId: id } = JSON.parse(text);
  assert.deepEqual([status, type, error.Type, error.Code], [403, 'application/json', 'Sender', 'MissingAuthenticationToken']);
  assert.match(id, /^[0-9a-f-]{36}$/);
  for (const accept of ['*/*', 'text/xml', 'text/xml, application/json', '']) {
    assert.equal((await ask(accept, identity))[1], 'text/xml', accept);
  }
});

test('Policies are validated and simulated through boto3', async () => {
  const credentials = await portalCredentials('DirectoryAdmin');
  const seen = await e2e.aws('policy_tour', { url: broker.url, credentials, account: MANAGEMENT });
  assert.deepEqual(seen, {
    found: [['ERROR', 'INVALID_ACTION', 71], ['SECURITY_WARNING', 'PASS_ROLE_WITH_STAR_IN_RESOURCE', 40]],
    path: [{ value: 'Statement' }, { index: 0 }, { value: 'Action' }, { index: 0 }],
    pages: [['TP15'], ['MISSING_VERSION']],
    refused: { ...seen.refused, code: 'ValidationException', status: 400 },
    custom: ['allowed', 'implicitDeny', 'implicitDeny', 'implicitDeny'],
    statement: [{
      SourcePolicyId: 'PolicyInputList.1', SourcePolicyType: 'IAM Policy',
      StartPosition: { Line: 1, Column: 40 }, EndPosition: { Line: 1, Column: seen.statement[0].EndPosition.Column },
    }],
    missing: ['aws:SourceIp'],
    role: [['allowed', ['AdministratorAccess']]],
    malformed: { ...seen.malformed, code: 'ValidationError', status: 400 },
  });
});

// Credentials of a directory role, by way of the portal page.
async function portalCredentials(role) {
  const opened = await launch();
  await e2e.signInDirectory(opened.page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await e2e.copyShellLines(opened.page, role);
  const json = JSON.parse(await opened.page.locator('#json').textContent());
  await opened.close();
  return json;
}

test('kill -9 in a stream of writes: every acknowledged write is there, sessions still work', async () => {
  const { page, close } = await launch();
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  const credentials = await portalCredentials('DirectoryAdmin');
  for (const round of [1, 2, 3]) {
    const progress = path.join(e2e.folder(), 'progress');
    const writing = e2e.aws('write_until_killed', { url: broker.url, credentials, account: MANAGEMENT, prefix: `Kill${round}`, progress });
    await e2e.until('some writes', () => fs.existsSync(progress) && fs.readFileSync(progress, 'utf8').split('\n').length > 15 * round);
    await broker.kill('SIGKILL');
    const { acknowledged } = await writing;
    await broker.start();
    const { roles } = await e2e.aws('list_roles', { url: broker.url, credentials });
    const missing = acknowledged.filter((name) => !roles.includes(name));
    assert.deepEqual(missing, [], `${acknowledged.length} acknowledged`);
    await page.goto(`${broker.url}/portal`);
    await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  }
  await close();
});
