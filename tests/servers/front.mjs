// What the tests add around a server somebody else wrote: a record of what
// reached it, faults on demand, and an end when the owner is gone. It never
// changes an answer unless a test asked for that.
import { createServer } from 'node:http';
import { once } from 'node:events';

const MAX_RECORDS = 20_000;

export class Front {
  #handler;
  #admin = new Map();
  #faults = new Map();
  #requests = [];
  #ledger = [];
  #tokenPaths;

  constructor({ tokenPaths }) {
    this.#tokenPaths = tokenPaths;
    this.server = createServer((req, res) => {
      this.#serve(req, res).catch((error) => {
        console.error(error);
        res.destroy();
      });
    });
    // A pooled connection that the server closes in the very moment a client
    // reuses it looks like a fault that no test asked for.
    this.server.keepAliveTimeout = 120_000;
    this.server.requestTimeout = 0;
  }

  async listen(port, host = '127.0.0.1') {
    this.server.listen(port, host);
    await once(this.server, 'listening');
    return `http://${host}:${this.server.address().port}`;
  }

  /** The server's own handling: `(req, res)`. */
  use(handler) {
    this.#handler = handler;
  }

  /** A test-only endpoint, `POST /_test/<name>` with a JSON body. */
  admin(name, action) {
    this.#admin.set(name, action);
  }

  async #serve(req, res) {
    const path = new URL(req.url, 'http://localhost').pathname;
    if (path.startsWith('/_test/')) {
      await this.#serveAdmin(path.slice('/_test/'.length), req, res);
      return;
    }

    const body = recordBody(req);
    const entry = { at: Date.now(), method: req.method, path, authorization: req.headers.authorization ?? null };
    remember(this.#requests, entry);
    const token = this.#tokenPaths.includes(path) && req.method === 'POST';
    if (token) remember(this.#ledger, entry);

    const fault = this.#faults.get(path)?.shift();
    if (fault) entry.fault = Object.keys(fault)[0];
    const answer = recordAnswer(res);
    const finish = () => {
      entry.finishedAt = Date.now();
      if (token) Object.assign(entry, describeToken(req, body(), answer));
      else entry.status = answer.status;
    };

    if (!fault) {
      answer.onEnd = (send) => { finish(); send(); };
      await this.#handler(req, res);
      return;
    }

    if (fault.delayMs) await sleep(fault.delayMs);
    const processed = Boolean(fault.delayMs || fault.truncate || fault.commitThenReset || fault.commitThenDelayMs);
    entry.processed = processed;
    if (!processed) {
      req.resume();
      if (!req.complete) await once(req, 'end');
      if (fault.hang || fault.reset) {
        finish();
        if (fault.reset) req.socket.resetAndDestroy();
        return;
      }
      answer.onEnd = (send) => { finish(); send(); };
      res.statusCode = fault.status ?? 200;
      if (fault.retryAfter !== undefined) res.setHeader('Retry-After', String(fault.retryAfter));
      for (const [name, value] of Object.entries(fault.headers ?? {})) res.setHeader(name, value);
      res.setHeader('Content-Type', fault.contentType ?? 'text/plain; charset=utf-8');
      res.end(fault.body ?? '');
      return;
    }

    answer.onEnd = (send) => {
      finish();
      if (fault.commitThenReset) req.socket.resetAndDestroy();
      else if (fault.truncate) answer.sendHalf();
      else if (fault.commitThenDelayMs) sleep(fault.commitThenDelayMs).then(send);
      else send();
    };
    await this.#handler(req, res);
  }

  async #serveAdmin(name, req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const input = text ? JSON.parse(text) : {};
    let output = { ok: true };
    let status = 200;
    if (name === 'ledger') {
      output = { count: this.#ledger.length, requests: this.#ledger };
    } else if (name === 'requests') {
      output = { count: this.#requests.length, requests: this.#requests };
    } else if (name === 'clear') {
      this.#ledger.length = 0;
      this.#requests.length = 0;
      this.#faults.clear();
    } else if (name === 'fault') {
      for (const path of input.path ? [input.path] : this.#tokenPaths) {
        this.#faults.set(path, [...(input.next ?? [])]);
      }
    } else if (this.#admin.has(name)) {
      output = (await this.#admin.get(name)(input)) ?? output;
    } else {
      status = 404;
      output = { ok: false, error: `no such test endpoint: ${name}` };
    }
    res.writeHead(status, { 'Content-Type': 'application/json' });
    res.end(JSON.stringify(output));
  }
}

/** Ends the process when standard input closes, that is when the owner is gone, however it went. */
export function liveWithOwner() {
  const end = () => process.exit(0);
  process.stdin.on('end', end).on('close', end).on('error', end).resume();
}

/** Says on standard output, in one line, where the server is. */
export function ready(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function parameters(req, text) {
  const type = req.headers['content-type'] ?? '';
  if (!type.includes('json')) return Object.fromEntries(new URLSearchParams(text));
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function recordBody(req) {
  const chunks = [];
  const push = req.push;
  req.push = function record(chunk, ...rest) {
    if (chunk) chunks.push(Buffer.from(chunk));
    return push.call(this, chunk, ...rest);
  };
  return () => Buffer.concat(chunks).toString();
}

// Holds the body back until it is complete, so that it can be recorded, cut or
// lost. Status and headers are left where the server set them.
function recordAnswer(res) {
  const { write, end } = res;
  const chunks = [];
  const collect = (chunk, encoding) => {
    if (chunk && typeof chunk !== 'function') {
      chunks.push(Buffer.from(chunk, typeof encoding === 'string' ? encoding : undefined));
    }
  };
  const answer = {
    onEnd: (send) => send(),
    get status() { return chunks.done ? res.statusCode : null; },
    get text() { return Buffer.concat(chunks).toString(); },
    sendHalf() {
      const body = Buffer.concat(chunks);
      if (!res.headersSent) res.setHeader('Content-Length', String(body.length));
      write.call(res, body.subarray(0, Math.floor(body.length / 2)), () => {
        setTimeout(() => res.socket?.destroy(), 20);
      });
    },
  };
  res.write = (chunk, encoding, done) => {
    collect(chunk, encoding);
    const callback = typeof encoding === 'function' ? encoding : done;
    if (callback) process.nextTick(callback);
    return true;
  };
  res.end = (chunk, encoding) => {
    // koa ends once more what was ended already.
    if (chunks.done) return res;
    collect(chunk, encoding);
    chunks.done = true;
    answer.onEnd(() => {
      if (!res.destroyed) end.call(res, Buffer.concat(chunks));
    });
    return res;
  };
  return answer;
}

function describeToken(req, text, answer) {
  const params = parameters(req, text);
  const basic = /^Basic\s+(.+)$/i.exec(req.headers.authorization ?? '');
  const user = basic ? Buffer.from(basic[1], 'base64').toString().split(':')[0] : null;
  let parsed = null;
  try {
    parsed = JSON.parse(answer.text);
  } catch {
    // Not JSON: the outcome is told by the status alone.
  }
  const error = parsed?.error ?? null;
  return {
    grantType: params.grant_type ?? null,
    clientAuth: basic ? 'basic' : params.client_secret ? 'post' : 'none',
    clientId: user ?? params.client_id ?? null,
    contentType: req.headers['content-type'] ?? null,
    params,
    status: answer.status,
    error,
    outcome: answer.status === null ? 'unanswered' : error ?? (answer.status < 300 ? 'ok' : `http_${answer.status}`),
    answer: answer.text,
  };
}

function remember(list, entry) {
  entry.n = (list.at(-1)?.n ?? 0) + 1;
  list.push(entry);
  if (list.length > MAX_RECORDS) list.shift();
}

function sleep(ms) {
  return new Promise((resolve) => { setTimeout(resolve, ms); });
}
