// A certified authorization server, as strict as it goes: PKCE with S256 only,
// exact redirect URIs, refresh tokens that rotate, and a grant that dies whole
// when a used refresh token comes back. Settings come from the environment:
//   CLIENTS     JSON list of {client_id, client_secret, redirect_uris, …}
//   SCOPES      JSON list of scopes beside openid and offline_access
//   ACCESS_TTL, REFRESH_TTL, CODE_TTL, SESSION_TTL   seconds
// First argument: the port, 0 for any. Second: the address, loopback when absent.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';
import { Front, liveWithOwner, ready } from './front.mjs';
import { MapAdapter, clearGrants } from './map-adapter.mjs';

const seconds = (name, fallback) => Number(process.env[name] ?? fallback);
const list = (name) => JSON.parse(process.env[name] ?? '[]');

liveWithOwner();
const front = new Front({ tokenPaths: ['/token'] });
const issuer = await front.listen(Number(process.argv[2] ?? 0), process.argv[3]);

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const withDefaults = (client) => ({
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'client_secret_post',
  id_token_signed_response_alg: 'ES256',
  ...client,
});

const provider = new Provider(issuer, {
  adapter: MapAdapter,
  clients: list('CLIENTS').map(withDefaults),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'test', alg: 'ES256', use: 'sig' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  scopes: ['openid', 'offline_access', ...list('SCOPES')],
  claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: `Name of ${sub}`, email: `${sub}@example.test` }),
  }),
  responseTypes: ['code'],
  pkce: { required: () => true },
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  expiresWithSession: async () => false,
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async (_ctx, client, token) => token.clientId === client.clientId },
    revocation: { enabled: true },
    userinfo: { enabled: true },
    rpInitiatedLogout: { enabled: false },
  },
  ttl: {
    AccessToken: seconds('ACCESS_TTL', 6),
    RefreshToken: seconds('REFRESH_TTL', 3600),
    AuthorizationCode: seconds('CODE_TTL', 60),
    Grant: seconds('REFRESH_TTL', 3600),
    IdToken: seconds('ACCESS_TTL', 6),
    Interaction: 600,
    Session: seconds('SESSION_TTL', 3600),
  },
});
provider.on('server_error', (_ctx, error) => console.error(error));

front.admin('revoke-all', () => ({ ok: true, removed: clearGrants() }));
front.admin('client', async (client) => {
  await new MapAdapter('Client').upsert(client.client_id, withDefaults(client));
});
front.use(provider.callback());
ready({ issuer });
