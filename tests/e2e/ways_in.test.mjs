// The other ways in for unmodified AWS clients: a command, a server of credentials, instance metadata, endpoints by variable and by
// the services of a profile, a broker behind https with an authority of its own.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';
import * as aws from './aws_clients.mjs';

const ACCOUNT = e2e.MANAGEMENT;
const ARN = `arn:aws:sts::${ACCOUNT}:assumed-role/Administrator/jane@example.com`;
let broker, passwords, page, stop, every;

before(async () => {
  ({ broker, passwords, page, stop } = await e2e.demoFor('jane@example.com'));
  every = { ...aws.clients, ...aws.old(broker.url) };
});

after(() => stop?.());

// Somebody who is signed in by `daypass login`, with profiles.
async function person(...words) {
  const env = aws.clean(e2e.folder(), { DAYPASS_URL: broker.url });
  await e2e.daypassLogin(page, env);
  if (words.length > 0) e2e.run(e2e.daypass, ['configure', '--yes', ...words], { env: { ...env, PATH: `${path.dirname(aws.CURRENT)}:${process.env.PATH}` } });
  return env;
}

// An agent that serves; and what it says to export.
async function agent(env, ...words) {
  const running = e2e.start(e2e.daypass, ['agent', '--json', ...words], { env });
  const said = await e2e.until('the agent serves', () => {
    if (running.child.exitCode !== null) throw new Error(running.output.stderr);
    return /^\{[^]*\}\n/.exec(running.output.stdout)?.[0];
  });
  return { variables: JSON.parse(said), output: running.output, stop: () => { running.child.kill('SIGTERM'); return running.ended; } };
}

test('credential_process: every client runs it', async () => {
  const env = await person('--credential-process');
  for (const [name, client] of Object.entries(every)) {
    assert.equal(await aws.whoIs(client, { ...env, AWS_PROFILE: 'Example-Corp-Administrator' }), ARN, name);
  }
});

test('the container endpoint: every client around which an agent stands is the person in the role', async () => {
  const env = await person();
  for (const [name, [program, ...words]] of Object.entries(every)) {
    assert.equal(await aws.whoIs([e2e.daypass, 'agent', 'Administrator', '--', program, ...words], env), ARN, name);
  }
});

test('instance metadata: every client finds it', async () => {
  const serving = await agent(await person(), 'Administrator', '--imds');
  try {
    const { AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_ENDPOINT_URL_STS } = serving.variables;
    const bare = aws.clean(e2e.folder(), { AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_ENDPOINT_URL_STS, AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-1', AWS_EC2_METADATA_DISABLED: 'false', AWS_MAX_ATTEMPTS: '3', AWS_METADATA_SERVICE_TIMEOUT: '10', AWS_METADATA_SERVICE_NUM_ATTEMPTS: '3' });
    for (const [name, client] of Object.entries(every)) assert.equal(await aws.whoIs(client, bare), ARN, name);
  } finally {
    await serving.stop();
  }
});

// Every service that is served, asked by a command of the AWS CLI.
const ASKED = {
  sts: ['sts', 'get-caller-identity'],
  iam: ['iam', 'list-roles'],
  organizations: ['organizations', 'list-accounts'],
  'sso-admin': ['sso-admin', 'list-instances'],
  cloudtrail: ['cloudtrail', 'lookup-events', '--max-items', '1'],
  accessanalyzer: ['accessanalyzer', 'validate-policy', '--policy-type', 'IDENTITY_POLICY', '--policy-document', '{"Version":"2012-10-17","Statement":[]}'],
  rolesanywhere: ['rolesanywhere', 'list-trust-anchors'],
};

test('all services are found by the services of a profile, and by AWS_ENDPOINT_URL alone', async () => {
  const env = await person('--credential-process');
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = JSON.parse(e2e.run(e2e.daypass, ['env', 'Administrator', '--json'], { env }).stdout);
  const ways = {
    'a profile': { ...env, AWS_PROFILE: 'Example-Corp-Administrator' },
    'AWS_ENDPOINT_URL': aws.clean(e2e.folder(), { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-1', AWS_ENDPOINT_URL: broker.url }),
  };
  for (const [way, env] of Object.entries(ways)) {
    for (const program of [aws.CURRENT, process.env.E2E_AWS_V1]) {
      for (const [service, words] of Object.entries(ASKED)) {
        const done = await e2e.start(program, [...words, '--output', 'json'], { env }).ended;
        assert.equal(done.code, 0, `${service} by ${way}, ${program}: ${done.stderr}`);
      }
    }
  }
});

test('an agent renews before the end, keeps what is left while the broker is away, and serves nobody else', async () => {
  const folder = e2e.folder();
  const time = path.join(folder, 'time');
  const at = (seconds) => fs.writeFileSync(time, `+${seconds}\n`);
  at(0);
  const env = await person();
  const { LD_PRELOAD, FAKETIME_DONT_FAKE_MONOTONIC, FAKETIME_DONT_RESET } = e2e.clockAhead(0);
  const serving = await agent({ ...env, LD_PRELOAD, FAKETIME_DONT_FAKE_MONOTONIC, FAKETIME_DONT_RESET, FAKETIME_TIMESTAMP_FILE: time, FAKETIME_NO_CACHE: '1' }, 'Administrator');
  const ask = async () => {
    const answer = await fetch(serving.variables.AWS_CONTAINER_CREDENTIALS_FULL_URI, { headers: { authorization: serving.variables.AWS_CONTAINER_AUTHORIZATION_TOKEN } });
    return { status: answer.status, ...(await answer.json()) };
  };
  const forward = async (seconds) => {
    await broker.kill('SIGTERM');
    at(seconds);
    await broker.start(e2e.clockAhead(seconds));
  };
  try {
    const first = await ask();
    assert.equal((await ask()).AccessKeyId, first.AccessKeyId, 'kept');
    await forward(55 * 60);
    const second = await ask();
    assert.notEqual(second.AccessKeyId, first.AccessKeyId, 'five minutes before the end');
    // A broker that takes connections and says nothing.
    at(107 * 60);
    broker.running.child.kill('SIGSTOP');
    assert.equal((await ask()).AccessKeyId, second.AccessKeyId, 'what is left is good');
    assert.doesNotMatch(serving.output.stderr, /can't be reached/, 'and nobody waited until the attempt failed');
    broker.running.child.kill('SIGCONT');
    await forward(0);

    // Somebody else signs in on this machine: the agent is not theirs.
    const other = await launch();
    try {
      await e2e.signInToPortal(other.page, broker, 'sam@example.com', passwords['sam@example.com']);
      await e2e.daypassLogin(other.page, env);
    } finally {
      await other.close();
    }
    await forward(200 * 60);
    const refused = await ask();
    assert.equal(refused.status, 503, JSON.stringify(refused));
    assert.match(serving.output.stderr, /somebody else has signed in/);
  } finally {
    await serving.stop();
    await forward(0);
  }
});

test('CreateTokenWithIAM: boto3 exchanges a person\'s token', async () => {
  const env = await person('--session', 'corp');
  const login = e2e.start(aws.CURRENT, ['sso', 'login', '--profile', 'Example-Corp-Administrator', '--no-browser'], { env });
  await page.goto(await e2e.until('the address', () => /http:\S+[?]\S+(?=\s)/.exec(login.output.stdout)?.[0]));
  await e2e.approve(page);
  assert.equal((await login.ended).code, 0, login.output.stderr);
  const cache = path.join(env.HOME, '.aws/sso/cache');
  const { accessToken } = fs.readdirSync(cache).map((file) => JSON.parse(fs.readFileSync(path.join(cache, file)))).find((token) => token.accessToken);
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = JSON.parse(e2e.run(e2e.daypass, ['env', 'Administrator', '--json'], { env }).stdout);
  const call = (grantType, credentials) => e2e.aws('call', {
    url: broker.url, service: 'sso-oidc', operation: 'CreateTokenWithIAM', credentials,
    parameters: { clientId: `arn:aws:sso::${ACCOUNT}:application/ssoins-1/apl-1`, grantType, subjectToken: accessToken, subjectTokenType: 'urn:ietf:params:oauth:token-type:access_token' },
  });
  const keys = { AccessKeyId: AWS_ACCESS_KEY_ID, SecretAccessKey: AWS_SECRET_ACCESS_KEY, SessionToken: AWS_SESSION_TOKEN };
  const { answer } = await call('urn:ietf:params:oauth:grant-type:token-exchange', keys);
  const portal = await fetch(`${broker.url}/assignment/accounts`, { headers: { 'x-amz-sso_bearer_token': answer.accessToken } });
  assert.equal(portal.status, 200);
  assert.equal((await call('authorization_code', keys)).refused.code, 'UnsupportedGrantTypeException');
});

test('a broker behind https with an authority of its own: daypass login, configure --ca-bundle, aws sso login', async () => {
  const folder = e2e.folder();
  const inside = (name) => path.join(folder, name);
  const openssl = (...words) => e2e.run('openssl', words, { cwd: folder });
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Corp CA', '-days', '30', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  fs.writeFileSync(inside('leaf.ext'), 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n');
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'tls.key', '-out', 'tls.csr', '-subj', '/CN=localhost');
  openssl('x509', '-req', '-in', 'tls.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'tls.crt', '-days', '30', '-extfile', 'leaf.ext');
  fs.writeFileSync(inside('daypass.toml'), `[tls]\ncertificate = "${inside('tls.crt')}"\nprivate_key = "${inside('tls.key')}"\n`);
  const secure = new e2e.Broker(await e2e.freePort());
  secure.url = `https://localhost:${secure.port}`;
  const demo = secure.apply(fs.readFileSync(path.join(e2e.root, 'config/demo.toml'), 'utf8'), '--new-passwords');
  secure.running = e2e.start(e2e.daypass, ['serve', '--config', inside('daypass.toml')], { env: secure.env() });
  await e2e.until('the broker listens', () => {
    if (secure.running.child.exitCode !== null) throw new Error(secure.running.output.stderr);
    return secure.running.output.stderr.includes('listening');
  });
  const key = e2e.run('sh', ['-c', 'openssl x509 -in tls.crt -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64'], { cwd: folder }).stdout.trim();
  const opened = await launch({ args: [`--ignore-certificate-errors-spki-list=${key}`] });
  try {
    await e2e.signInToPortal(opened.page, secure, 'jane@example.com', demo.passwords['jane@example.com']);
    const env = aws.clean(inside('home'), { DAYPASS_URL: secure.url, SSL_CERT_FILE: inside('ca.pem') });
    fs.mkdirSync(env.HOME);
    // Who does not know the authority is told so.
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'other.key', '-out', 'other.pem', '-subj', '/CN=Other CA', '-days', '30');
    const { findings } = JSON.parse(e2e.run(e2e.daypass, ['doctor', '--json'], { env: { ...env, SSL_CERT_FILE: inside('other.pem') }, expect: 1 }).stdout);
    assert.ok(findings.some((finding) => finding.state === 'problem' && /certificate|authority/i.test(`${finding.what} ${finding.fix}`)), JSON.stringify(findings));
    const login = e2e.start(e2e.daypass, ['login', '--no-browser'], { env });
    await opened.page.goto(await e2e.until('the address', () => /https:\S+\/authorize\S+/.exec(login.output.stderr)?.[0]));
    await e2e.approve(opened.page);
    assert.equal((await login.ended).code, 0, login.output.stderr);
    e2e.run(e2e.daypass, ['configure', '--yes', '--ca-bundle', inside('ca.pem')], { env: { ...env, PATH: `${path.dirname(aws.CURRENT)}:${process.env.PATH}` } });
    assert.match(fs.readFileSync(path.join(env.HOME, '.aws/config'), 'utf8'), new RegExp(`sso_start_url = ${secure.url}/start\n`));
    const cli = { ...env, SSL_CERT_FILE: undefined, AWS_PROFILE: 'Example-Corp-Administrator' };
    const sso = e2e.start(aws.CURRENT, ['sso', 'login', '--no-browser', '--use-device-code'], { env: cli });
    await opened.page.goto(await e2e.until('the address', () => {
      if (sso.child.exitCode !== null) throw new Error(sso.output.stdout + sso.output.stderr);
      return /https:\S+[?]user_code=\S+/.exec(sso.output.stdout)?.[0];
    }));
    await e2e.approve(opened.page);
    assert.equal((await sso.ended).code, 0, sso.output.stderr);
    for (const name of ['the current AWS CLI v2', 'AWS CLI v1', 'boto3']) assert.equal(await aws.whoIs(aws.clients[name], cli), ARN, name);
  } finally {
    await opened.close();
    await secure.kill('SIGTERM');
  }
});
