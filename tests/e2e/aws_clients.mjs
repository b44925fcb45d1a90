// The AWS clients that are driven, each as a program that says who it is: `{"Arn": …}`.
import path from 'node:path';
import * as e2e from './harness.mjs';

const cli = ['sts', 'get-caller-identity', '--output', 'json'];

export const OLD = '/usr/bin/aws';
export const CURRENT = process.env.E2E_AWS_CURRENT;
export const OLD_CLI = 'the AWS CLI 2.9.19';
export const RUST = 'the Rust SDK';

// Those that know endpoints of a profile.
export const clients = {
  'the current AWS CLI v2': [CURRENT, ...cli],
  'AWS CLI v1': [process.env.E2E_AWS_V1, ...cli],
  'boto3': [process.env.E2E_PYTHON, path.join(e2e.root, 'tests/e2e/aws.py'), 'whoami', '{}'],
  'the JavaScript SDK': [process.execPath, path.join(e2e.root, 'tests/e2e/sdk/whoami.mjs')],
  [RUST]: [path.join(e2e.root, 'target/debug/examples/whoami')],
};

// And those that have to be told.
export const old = (url) => ({ [OLD_CLI]: [OLD, ...cli, '--endpoint-url', url] });

// Nothing of this machine, and a home of its own. What is undefined is not in the environment.
export const clean = (home, more = {}) => ({
  HOME: home, XDG_STATE_HOME: '', AWS_PAGER: '', AWS_MAX_ATTEMPTS: '1', AWS_EC2_METADATA_DISABLED: 'true', PYTHONUNBUFFERED: '1', AWS_CA_BUNDLE: undefined, ...more,
});

// Who a client is; fails with what it printed.
export async function whoIs([program, ...words], env) {
  const done = await e2e.start(program, words, { env }).ended;
  if (done.code !== 0) throw new Error(`${program} ended with ${done.code}\n${done.stdout}\n${done.stderr}`);
  return JSON.parse(done.stdout).Arn;
}
