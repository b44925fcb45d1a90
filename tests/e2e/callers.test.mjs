// Every STS operation, driven by every AWS client: boto3, the AWS CLI of both generations, and the JavaScript SDK. (The Rust
// SDK does the same in tests/suite/sdk.rs.) Then programs that find their role by themselves, through `daypass agent`.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const { MANAGEMENT, WORKLOADS } = e2e;
let broker, saml, browser, root, user, role;

const kebab = (name) => name.replace(/([a-z])([A-Z])/g, '$1-$2').replace(/SAML/, '-saml').replace(/--/g, '-').toLowerCase();

// One call of the AWS CLI.
function cli(program) {
  return async (operation, parameters, credentials) => {
    const words = ['sts', kebab(operation), '--cli-input-json', JSON.stringify(parameters), '--output', 'json', '--endpoint-url', broker.url, '--region', 'eu-west-1'];
    const env = {
      AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null', AWS_MAX_ATTEMPTS: '1', AWS_PAGER: '',
      AWS_ACCESS_KEY_ID: credentials?.AccessKeyId, AWS_SECRET_ACCESS_KEY: credentials?.SecretAccessKey, AWS_SESSION_TOKEN: credentials?.SessionToken,
    };
    for (const name of Object.keys(env)) if (env[name] === undefined) delete env[name];
    const done = await e2e.start(program, credentials ? words : [...words, '--no-sign-request'], { env }).ended;
    if (done.code === 0) return { answer: JSON.parse(done.stdout) };
    const [, code, message] = /An error occurred \((\S+)\) when calling the \S+ operation[^:]*(?:: 0\))?: (.*)/s.exec(done.stderr) ?? [];
    if (!code) throw new Error(done.stderr);
    return { refused: { code, message: message.trim() } };
  };
}

async function javascript(operation, parameters, credentials) {
  const input = JSON.stringify({ url: broker.url, operation, parameters, credentials });
  const done = await e2e.start(process.execPath, [path.join(e2e.root, 'tests/e2e/sdk/call.mjs'), input]).ended;
  if (done.code !== 0) throw new Error(done.stderr);
  return JSON.parse(done.stdout);
}

const python = (operation, parameters, credentials) => e2e.aws('call', { url: broker.url, service: 'sts', operation, parameters, credentials });
const iam = async (operation, parameters, credentials = root) => {
  const { answer, refused } = await e2e.aws('call', { url: broker.url, service: 'iam', operation, parameters, credentials });
  assert.equal(refused, undefined, `${operation}: ${refused?.code} ${refused?.message}`);
  return answer;
};

const issuer = () => `127.0.0.1:${broker.port}/issuer/${MANAGEMENT}`;
const policy = (statement) => JSON.stringify({ Version: '2012-10-17', Statement: statement });

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  saml = await e2e.testbed('idp-simplesamlphp.sh', '--sign', 'both', '--nameid', 'email');
  const document = e2e.organization({ metadataFile: saml.info.IDP_METADATA_FILE, issuer: 'http://127.0.0.1:1', clientSecret: 'none' });
  // The broker's own tokens, trusted like anybody's.
  broker.apply(`${document}
[[identity_providers]]
account = "${MANAGEMENT}"
name = "loop"
type = "oidc"
issuer = "http://${issuer()}"
audiences = ["loop"]
[[roles]]
account = "${MANAGEMENT}"
name = "Loop"
trust_policy = '''${policy({ Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${MANAGEMENT}:oidc-provider/${issuer()}` }, Action: 'sts:AssumeRoleWithWebIdentity', Condition: { StringEquals: { [`${issuer()}:aud`]: 'loop' } } })}'''
`);
  await broker.start();
  const file = path.join(e2e.folder(), 'sp.xml');
  fs.writeFileSync(file, await (await fetch(`${broker.url}/saml/metadata`)).text());
  saml.command('add-sp', file);
  browser = await launch();

  const [, id, secret] = /aws_access_key_id = (\S+)\naws_secret_access_key = (\S+)/.exec(broker.command('root-key', MANAGEMENT));
  root = { AccessKeyId: id, SecretAccessKey: secret };
  await e2e.until('the root key is known', async () => (await python('GetCallerIdentity', {}, root)).answer);
  await iam('CreateUser', { UserName: 'robot' });
  await iam('AttachUserPolicy', { UserName: 'robot', PolicyArn: 'arn:aws:iam::aws:policy/AdministratorAccess' });
  user = (await iam('CreateAccessKey', { UserName: 'robot' })).AccessKey;
  const trust = policy({
    Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${MANAGEMENT}:user/robot` }, Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
    Condition: { StringEquals: { 'sts:ExternalId': 'e-1' } },
  });
  role = (await iam('CreateRole', { RoleName: 'Robots', AssumeRolePolicyDocument: trust, MaxSessionDuration: 43_200 })).Role.Arn;
  await iam('EnableOutboundWebIdentityFederation', {});
});

after(async () => {
  await browser?.close();
  await broker?.kill('SIGTERM');
  await saml?.stop();
});

const clients = {
  'boto3': { call: python },
  'AWS CLI v1': { call: cli(process.env.E2E_AWS_V1) },
  // Debian's is older than three of the operations.
  'AWS CLI v2': { call: cli('/usr/bin/aws'), lacks: ['AssumeRoot', 'GetWebIdentityToken', 'GetDelegatedAccessToken'] },
  'the JavaScript SDK': { call: javascript },
};

for (const [name, { call, lacks = [] }] of Object.entries(clients)) {
  test(`every STS operation with ${name}`, async () => {
    const can = (operation) => (lacks.includes(operation) ? python : call);
    const answer = async (operation, parameters, credentials) => {
      const done = await can(operation)(operation, parameters, credentials);
      assert.ok(done.answer, `${operation}: ${JSON.stringify(done.refused)}`);
      return done.answer;
    };
    const who = async (credentials) => (await answer('GetCallerIdentity', {}, credentials)).Arn;

    assert.equal(await who(user), `arn:aws:iam::${MANAGEMENT}:user/robot`);
    assert.equal((await answer('GetAccessKeyInfo', { AccessKeyId: user.AccessKeyId }, user)).Account, MANAGEMENT);

    const session = await answer('GetSessionToken', { DurationSeconds: 900 }, user);
    assert.equal(await who(session.Credentials), `arn:aws:iam::${MANAGEMENT}:user/robot`);
    const guest = await answer('GetFederationToken', { Name: 'guest', Policy: policy({ Effect: 'Allow', Action: 's3:*', Resource: '*' }), DurationSeconds: 900 }, user);
    assert.equal(guest.FederatedUser.FederatedUserId, `${MANAGEMENT}:guest`);
    assert.ok(guest.PackedPolicySize >= 1);
    assert.equal(await who(guest.Credentials), `arn:aws:sts::${MANAGEMENT}:federated-user/guest`);

    const ask = {
      RoleArn: role, RoleSessionName: 'a@b.c', ExternalId: 'e-1', DurationSeconds: 7200, SourceIdentity: 'robot', TransitiveTagKeys: ['team'],
      Policy: policy({ Effect: 'Allow', Action: 'sts:*', Resource: '*' }), Tags: [{ Key: 'team', Value: 'a b+c~é' }],
      PolicyArns: [{ arn: 'arn:aws:iam::aws:policy/AdministratorAccess' }],
    };
    const taken = await answer('AssumeRole', ask, user);
    assert.equal(taken.SourceIdentity, 'robot');
    assert.equal(await who(taken.Credentials), `arn:aws:sts::${MANAGEMENT}:assumed-role/Robots/a@b.c`);
    const life = (new Date(taken.Credentials.Expiration) - Date.now()) / 1000;
    assert.ok(life > 7100 && life < 7201, `${life} s: a user's session is no chain`);

    const { refused } = await call('AssumeRole', { ...ask, ExternalId: 'e-2' }, user);
    assert.equal(refused.code, 'AccessDenied');
    const EncodedMessage = refused.message.split('message: ')[1];
    const decoded = JSON.parse((await answer('DecodeAuthorizationMessage', { EncodedMessage }, user)).DecodedMessage);
    assert.equal(decoded.context.action, 'sts:AssumeRole');
    assert.match(JSON.stringify(decoded.policies), /sts:ExternalId/i);

    const task = await answer('AssumeRoot', { TargetPrincipal: WORKLOADS, TaskPolicyArn: { arn: 'arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials' } }, user);
    assert.equal(await who(task.Credentials), `arn:aws:sts::${WORKLOADS}:assumed-root`);

    const token = await answer('GetWebIdentityToken', { Audience: ['loop'], SigningAlgorithm: 'ES384', Tags: [{ Key: 'job', Value: '7' }] }, user);
    const loop = { RoleArn: `arn:aws:iam::${MANAGEMENT}:role/Loop`, RoleSessionName: 'loop', WebIdentityToken: token.WebIdentityToken };
    const looped = await answer('AssumeRoleWithWebIdentity', loop);
    assert.equal(looped.SubjectFromWebIdentityToken, `arn:aws:iam::${MANAGEMENT}:user/robot`);
    assert.equal(await who(looped.Credentials), `arn:aws:sts::${MANAGEMENT}:assumed-role/Loop/loop`);

    const by = { RoleArn: `arn:aws:iam::${WORKLOADS}:role/SamlDeveloper`, PrincipalArn: `arn:aws:iam::${WORKLOADS}:saml-provider/corp` };
    const asserted = await answer('AssumeRoleWithSAML', { ...by, SAMLAssertion: await e2e.samlAssertion(browser, saml, broker) });
    assert.equal(await who(asserted.Credentials), `arn:aws:sts::${WORKLOADS}:assumed-role/SamlDeveloper/alice@corp.test`);

    const traded = await can('GetDelegatedAccessToken')('GetDelegatedAccessToken', { TradeInToken: 'x' }, user);
    assert.match(traded.refused.code, /^ExpiredTradeInToken/);
  });
}

test('an access key rests, works again, and goes; its last use is known', async () => {
  const { AccessKey: key } = await iam('CreateAccessKey', { UserName: 'robot' });
  const refusal = async () => (await python('GetCallerIdentity', {}, key)).refused?.code ?? 'none';
  assert.equal(await refusal(), 'none');
  const used = (await iam('GetAccessKeyLastUsed', { AccessKeyId: key.AccessKeyId })).AccessKeyLastUsed;
  assert.deepEqual([used.ServiceName, used.Region], ['sts', 'eu-west-1']);
  const status = (Status) => iam('UpdateAccessKey', { UserName: 'robot', AccessKeyId: key.AccessKeyId, Status });
  await status('Inactive');
  assert.equal(await refusal(), 'InvalidClientTokenId');
  await status('Active');
  assert.equal(await refusal(), 'none');
  await iam('DeleteAccessKey', { UserName: 'robot', AccessKeyId: key.AccessKeyId });
  assert.equal(await refusal(), 'InvalidClientTokenId');
});

test('a session is of the user, whatever the user is called by now', async () => {
  await iam('CreateUser', { UserName: 'before' });
  const key = (await iam('CreateAccessKey', { UserName: 'before' })).AccessKey;
  const { Credentials: session } = (await python('GetSessionToken', {}, key)).answer;
  await iam('UpdateUser', { UserName: 'before', NewUserName: 'after' });
  await iam('CreateUser', { UserName: 'before' });
  for (const credentials of [session, key]) {
    assert.equal((await python('GetCallerIdentity', {}, credentials)).answer.Arn, `arn:aws:iam::${MANAGEMENT}:user/after`);
  }
});

test('a one-time code opens what a session without it does not', async () => {
  const { VirtualMFADevice: device } = await iam('CreateVirtualMFADevice', { VirtualMFADeviceName: 'phone' });
  // As an authenticator app computes it (RFC 6238).
  const code = (offset) => {
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
    const bits = [...device.Base32StringSeed.replace(/=/g, '')].map((letter) => letters.indexOf(letter).toString(2).padStart(5, '0')).join('');
    const seed = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
    const step = Buffer.alloc(8);
    step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + offset));
    const mac = createHmac('sha1', seed).update(step).digest();
    return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
  };
  await iam('EnableMFADevice', { UserName: 'robot', SerialNumber: device.SerialNumber, AuthenticationCode1: code(-1), AuthenticationCode2: code(0) });
  const plain = (await python('GetSessionToken', {}, user)).answer.Credentials;
  const used = code(0);
  const strong = (await python('GetSessionToken', { SerialNumber: device.SerialNumber, TokenCode: used }, user)).answer.Credentials;
  const list = (credentials) => e2e.aws('call', { url: broker.url, service: 'iam', operation: 'ListUsers', parameters: {}, credentials });
  assert.equal((await list(plain)).refused.code, 'InvalidClientTokenId');
  assert.ok((await list(strong)).answer.Users.length >= 1);
  const again = await python('GetSessionToken', { SerialNumber: device.SerialNumber, TokenCode: used }, user);
  assert.equal(again.refused.code, 'AccessDenied');
});

// An agent, with the lines it prints as an environment.
async function agent(...words) {
  const running = e2e.start(e2e.daypass, ['agent', '--url', broker.url, ...words]);
  const lines = await e2e.until('the agent is ready', () => {
    if (running.child.exitCode !== null) throw new Error(running.output.stderr);
    return running.output.stderr.includes('Serving') && running.output.stdout;
  });
  process.once('exit', () => running.child.kill('SIGKILL'));
  const env = Object.fromEntries(lines.trim().split('\n').map((line) => /^export (\w+)='(.*)'$/.exec(line).slice(1)));
  return { env, stop: async () => { running.child.kill('SIGTERM'); await running.ended; } };
}

const clean = { AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' };
// What a machine has of others: it would win over the agent.
const others = { AWS_WEB_IDENTITY_TOKEN_FILE: '/no/such', AWS_ROLE_ARN: 'arn:aws:iam::111122223333:role/other', AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/other' };

test('a program finds its role through the agent: container endpoint and IMDSv2, by token and by certificate', async () => {
  const folder = e2e.folder();
  const inside = (name) => path.join(folder, name);
  // By a workload's token.
  const token = (await python('GetWebIdentityToken', { Audience: ['loop'], SigningAlgorithm: 'RS256', DurationSeconds: 900 }, user)).answer;
  fs.writeFileSync(inside('token'), token.WebIdentityToken);
  const byToken = await agent('--role-arn', `arn:aws:iam::${MANAGEMENT}:role/Loop`, '--web-identity-token-file', inside('token'), '--imds', '--token-file', inside('agent-token'));
  const { AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata, ...container } = byToken.env;
  const loop = `arn:aws:sts::${MANAGEMENT}:assumed-role/Loop/daypass-agent`;
  assert.equal(fs.statSync(inside('agent-token')).mode & 0o777, 0o600);
  assert.equal((await e2e.aws('provided', { url: broker.url }, { ...clean, ...container })).arn, loop);
  assert.equal((await e2e.aws('provided', { url: broker.url }, { ...clean, AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata })).arn, loop);
  for (const program of [process.env.E2E_AWS_V1, '/usr/bin/aws']) {
    const who = e2e.run(program, ['sts', 'get-caller-identity', '--output', 'json', '--endpoint-url', broker.url, '--region', 'eu-west-1'], {
      env: { ...clean, AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata },
    });
    assert.equal(JSON.parse(who.stdout).Arn, loop, program);
  }
  // Everybody else is turned away.
  const status = async (address, options = {}) => (await fetch(address, options)).status;
  const uri = container.AWS_CONTAINER_CREDENTIALS_FULL_URI;
  const authorization = fs.readFileSync(inside('agent-token'), 'utf8');
  const get = `${metadata}latest/meta-data/iam/security-credentials/`;
  assert.deepEqual({
    'no token': await status(uri),
    'wrong token': await status(uri, { headers: { authorization: `${authorization}x` } }),
    'from a page': await status(uri, { headers: { authorization, origin: 'https://evil.example' } }),
    'forwarded': await status(uri, { headers: { authorization, 'x-forwarded-for': '192.0.2.1' } }),
    'version 1': await status(get),
    'no life': await status(`${metadata}latest/api/token`, { method: 'PUT' }),
    'too long a life': await status(`${metadata}latest/api/token`, { method: 'PUT', headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '21601' } }),
    'made-up token': await status(get, { headers: { 'x-aws-ec2-metadata-token': 'x' } }),
    'good': await status(uri, { headers: { authorization } }),
  }, { 'no token': 401, 'wrong token': 401, 'from a page': 403, forwarded: 403, 'version 1': 401, 'no life': 400, 'too long a life': 400, 'made-up token': 401, good: 200 });
  await byToken.stop();
  // Around one command, whose exit code it passes on.
  const around = (expect, ...words) => e2e.run(e2e.daypass, ['agent', '--url', broker.url, '--role-arn', `arn:aws:iam::${MANAGEMENT}:role/Loop`, '--web-identity-token-file', inside('token'), '--', ...words], { env: { ...clean, ...others }, expect });
  const who = around(0, process.env.E2E_AWS_V1, 'sts', 'get-caller-identity', '--output', 'json', '--endpoint-url', broker.url, '--region', 'eu-west-1');
  assert.equal(JSON.parse(who.stdout).Arn, loop);
  around(7, 'sh', '-c', 'exit 7');
  assert.match(around(127, 'no-such-program').stderr, /no-such-program: No such file/);
  around(143, 'sh', '-c', 'kill -TERM $$');
  around(0, 'sh', '-c', `test "$AWS_ENDPOINT_URL_STS" = ${broker.url} && test -z "$AWS_WEB_IDENTITY_TOKEN_FILE$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"`);
  // Ctrl-C is for the command to decide on, and what is sent to the agent alone is passed on.
  const script = 'trap "echo interrupted" INT; trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done';
  const running = e2e.start(e2e.daypass, ['agent', '--url', broker.url, '--role-arn', `arn:aws:iam::${MANAGEMENT}:role/Loop`, '--web-identity-token-file', inside('token'), '--', 'sh', '-c', script], { env: clean });
  await e2e.until('the command runs', () => running.output.stdout.includes('ready'));
  running.child.kill('SIGINT');
  running.child.kill('SIGTERM');
  assert.equal((await running.ended).code, 9);

  // By a certificate that openssl made.
  const openssl = (...words) => e2e.run('openssl', words, { cwd: folder });
  fs.writeFileSync(inside('leaf.ext'), 'keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectAltName=DNS:build-7.example.com\nbasicConstraints=CA:FALSE\n');
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Corp CA', '-days', '30', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  const anchor = (await e2e.aws('call', {
    url: broker.url, service: 'rolesanywhere', operation: 'CreateTrustAnchor', credentials: root,
    parameters: { name: 'corp', enabled: true, source: { sourceType: 'CERTIFICATE_BUNDLE', sourceData: { x509CertificateData: fs.readFileSync(inside('ca.pem'), 'utf8') } } },
  })).answer.trustAnchor;
  const trust = policy({
    Effect: 'Allow', Principal: { Service: 'rolesanywhere.amazonaws.com' }, Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
    Condition: { StringEquals: { 'aws:PrincipalTag/x509Subject/OU': 'ci' }, ArnEquals: { 'aws:SourceArn': anchor.trustAnchorArn } },
  });
  const build = (await iam('CreateRole', { RoleName: 'Build', AssumeRolePolicyDocument: trust })).Role.Arn;
  const profile = (await e2e.aws('call', {
    url: broker.url, service: 'rolesanywhere', operation: 'CreateProfile', credentials: root,
    parameters: { name: 'builds', enabled: true, roleArns: [build], acceptRoleSessionName: true },
  })).answer.profile;
  for (const [kind, ...options] of [['rsa', '-algorithm', 'RSA'], ['ec', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256']]) {
    openssl('genpkey', ...options, '-out', `${kind}.key`);
    openssl('req', '-new', '-key', `${kind}.key`, '-out', `${kind}.csr`, '-subj', '/CN=build-7/OU=ci');
    openssl('x509', '-req', '-in', `${kind}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', `${kind}.pem`, '-days', '2', '-extfile', 'leaf.ext');
    const byCertificate = await agent(
      '--role-arn', build, '--certificate', inside(`${kind}.pem`), '--private-key', inside(`${kind}.key`),
      '--trust-anchor-arn', anchor.trustAnchorArn, '--profile-arn', profile.profileArn, '--role-session-name', `job-${kind}`,
    );
    const { arn } = await e2e.aws('provided', { url: broker.url }, { ...clean, ...byCertificate.env });
    assert.equal(arn, `arn:aws:sts::${MANAGEMENT}:assumed-role/Build/job-${kind}`);
    await byCertificate.stop();
  }
  const lists = ['GetTrustAnchor', 'DisableTrustAnchor', 'EnableTrustAnchor', 'DeleteTrustAnchor'];
  for (const operation of lists) {
    const { answer } = await e2e.aws('call', { url: broker.url, service: 'rolesanywhere', operation, credentials: root, parameters: { trustAnchorId: anchor.trustAnchorId } });
    assert.equal(answer.trustAnchor.name, 'corp', operation);
  }
});

test('the agent says what is wrong with what it was given', () => {
  const say = (expect, ...words) => e2e.run(e2e.daypass, ['agent', '--url', broker.url, ...words], { expect }).stderr;
  assert.match(say(2), /say how to take the role/);
  assert.match(say(2, '--listen', '0.0.0.0:0', '--account', MANAGEMENT, '--role', 'x'), /not a loopback address/);
  assert.match(say(2, '--role-arn', 'x', '--web-identity-token-file', '/dev/null'), /`x` is no ARN/);
  assert.match(say(1, '--role-arn', role, '--web-identity-token-file', '/no/such'), /\/no\/such: No such file/);
  assert.match(say(4, '--role-arn', role, '--web-identity-token-file', '/dev/null'), /\(ValidationError\)|InvalidIdentityToken/);
  assert.match(say(2, '--role-arn', role, '--certificate', 'c.pem'), /--private-key/);
});
