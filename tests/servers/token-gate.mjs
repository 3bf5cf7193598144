// Ours, not emulate's: only tokens that the emulator issued or was seeded with
// are let through, and the ways to withdraw one that Slack and GitHub have are
// there. Refusals take the form of the real service.
import { parameters } from './front.mjs';

const GITHUB_APPLICATION = /^\/applications\/([^/]+)\/(grant|token)$/;
const GITHUB_REFUSAL = {
  message: 'Bad credentials',
  documentation_url: 'https://docs.github.com/rest',
  status: '401',
};

export class TokenGate {
  strict = true;
  #known = new Set();
  #revoked = new Set();

  constructor(service, seed, next) {
    this.service = service;
    this.apps = seed.oauth_apps ?? [];
    this.next = next;
    for (const { token } of seed.tokens ?? []) this.#known.add(token);
  }

  revokeAll() {
    const count = this.#known.size;
    for (const token of this.#known) this.#revoked.add(token);
    this.#known.clear();
    return count;
  }

  async serve(req, res) {
    const url = new URL(req.url, 'http://localhost');
    const bearer = /^(?:Bearer|token)\s+(\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
    if (this.strict && bearer && !this.#known.has(bearer) && this.#refuse(bearer, req, res)) return undefined;
    if (this.service === 'slack' && url.pathname === '/api/auth.revoke') return this.#slackRevoke(bearer, req, res, url);
    if (this.service === 'slack' && url.pathname === '/api/apps.uninstall') return this.#slackUninstall(bearer, req, res, url);
    const application = this.service === 'github' && req.method === 'DELETE' && GITHUB_APPLICATION.exec(url.pathname);
    if (application) return this.#githubDelete(decodeURIComponent(application[1]), application[2], req, res);
    this.#learn(res);
    return this.next(req, res);
  }

  #refuse(token, req, res) {
    if (this.service === 'slack') {
      answer(req, res, 200, { ok: false, error: this.#revoked.has(token) ? 'token_revoked' : 'invalid_auth' });
    } else if (this.service === 'github') {
      answer(req, res, 401, GITHUB_REFUSAL);
    } else if (this.service === 'linear') {
      const extensions = { type: 'authentication error', code: 'AUTHENTICATION_ERROR', statusCode: 401 };
      answer(req, res, 401, { errors: [{ message: 'Authentication required, not authenticated', extensions }] });
    } else if (this.service === 'google') {
      const message = 'Request had invalid authentication credentials.';
      answer(req, res, 401, { error: { code: 401, message, status: 'UNAUTHENTICATED' } });
    } else if (this.service === 'microsoft') {
      const message = 'Access token validation failure.';
      answer(req, res, 401, { error: { code: 'InvalidAuthenticationToken', message } });
    } else if (this.service === 'stripe') {
      const message = `Invalid API Key provided: ${token.slice(0, 8)}****`;
      answer(req, res, 401, { error: { message, type: 'invalid_request_error' } });
    } else {
      return false;
    }
    return true;
  }

  #learn(res) {
    const { end, write } = res;
    let text = '';
    res.write = (chunk, ...rest) => {
      text += Buffer.from(chunk).toString();
      return write.call(res, chunk, ...rest);
    };
    res.end = (chunk, ...rest) => {
      if (typeof chunk === 'string' || chunk instanceof Uint8Array) text += Buffer.from(chunk).toString();
      if (text.includes('access_token')) this.#learnFrom(text);
      return end.call(res, chunk, ...rest);
    };
  }

  #learnFrom(text) {
    let found;
    try {
      const body = JSON.parse(text);
      found = [body.access_token, body.authed_user?.access_token];
    } catch {
      found = [new URLSearchParams(text).get('access_token')];
    }
    for (const token of found) if (token) this.#known.add(token);
  }

  #forget(token) {
    this.#known.delete(token);
    this.#revoked.add(token);
  }

  async #slackRevoke(bearer, req, res, url) {
    const input = await read(req, url);
    const token = bearer ?? input.token;
    if (!token) return answer(req, res, 200, { ok: false, error: 'not_authed' });
    if (!this.#known.has(token)) {
      return answer(req, res, 200, { ok: false, error: this.#revoked.has(token) ? 'token_revoked' : 'invalid_auth' });
    }
    if (input.test === '1' || input.test === 'true') return answer(req, res, 200, { ok: true, revoked: false });
    this.#forget(token);
    return answer(req, res, 200, { ok: true, revoked: true });
  }

  async #slackUninstall(bearer, req, res, url) {
    const input = await read(req, url);
    if (!bearer && !this.#known.has(input.token)) return answer(req, res, 200, { ok: false, error: 'not_authed' });
    const app = this.apps.find((one) => one.client_id === input.client_id);
    if (!app) return answer(req, res, 200, { ok: false, error: 'invalid_client_id' });
    if (app.client_secret !== input.client_secret) return answer(req, res, 200, { ok: false, error: 'bad_client_secret' });
    this.revokeAll();
    return answer(req, res, 200, { ok: true });
  }

  async #githubDelete(clientId, what, req, res) {
    const input = await read(req, new URL('http://localhost'));
    const basic = /^Basic\s+(.+)$/i.exec(req.headers.authorization ?? '')?.[1] ?? '';
    const app = this.apps.find((one) => one.client_id === clientId);
    if (!app || Buffer.from(basic, 'base64').toString() !== `${app.client_id}:${app.client_secret}`) {
      return answer(req, res, 401, GITHUB_REFUSAL);
    }
    if (!input.access_token) return answer(req, res, 422, { message: 'Validation Failed', status: '422' });
    if (!this.#known.has(input.access_token)) return answer(req, res, 404, { message: 'Not Found', status: '404' });
    if (what === 'grant') this.revokeAll();
    else this.#forget(input.access_token);
    return answer(req, res, 204);
  }
}

async function read(req, url) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return { ...Object.fromEntries(url.searchParams), ...parameters(req, Buffer.concat(chunks).toString()) };
}

function answer(req, res, status, body) {
  req.resume();
  res.statusCode = status;
  if (body === undefined) return res.end();
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  return res.end(JSON.stringify(body));
}
