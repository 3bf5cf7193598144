// The emulators of `emulate`, one a service, each on a loopback port of its
// own. Arguments: the names of the services. SEED in the environment: the seed
// configuration as JSON, in emulate's own form.
//
// emulate accepts any bearer token as its first user, and knows no way to
// withdraw one for Slack and GitHub. `TokenGate` puts that right.
import net from 'node:net';
import { createEmulator } from 'emulate';
import { Front, liveWithOwner, ready } from './front.mjs';
import { TokenGate } from './token-gate.mjs';

const TOKEN_PATHS = {
  slack: ['/api/oauth.v2.access'],
  github: ['/login/oauth/access_token'],
  linear: ['/oauth/token'],
  google: ['/oauth2/token'],
  microsoft: ['/oauth2/v2.0/token'],
  apple: ['/auth/token'],
};

// emulate listens on every address and does not say on which port. The server
// it makes is kept from listening, and handed the requests the front received.
async function unlistened(make) {
  const { listen } = net.Server.prototype;
  let server;
  net.Server.prototype.listen = function capture() {
    server = this;
    return this;
  };
  try {
    await make();
  } finally {
    net.Server.prototype.listen = listen;
  }
  return (req, res) => server.emit('request', req, res);
}

async function start(service, seed) {
  const front = new Front({ tokenPaths: TOKEN_PATHS[service] ?? [] });
  const url = await front.listen(0);
  const own = await unlistened(() => createEmulator({ service, seed, baseUrl: url }));
  const gate = new TokenGate(service, seed[service] ?? {}, own);
  front.use((req, res) => gate.serve(req, res));
  front.admin('revoke-all', () => ({ ok: true, removed: gate.revokeAll() }));
  front.admin('strict-tokens', ({ enabled }) => { gate.strict = enabled !== false; });
  return url;
}

liveWithOwner();
const seed = JSON.parse(process.env.SEED ?? '{}');
const urls = {};
for (const service of process.argv.slice(2)) {
  // One after the other: what `unlistened` does holds for the whole process.
  urls[service] = await start(service, seed);
}
ready(urls);
