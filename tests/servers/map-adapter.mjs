// The store behind oidc-provider: plain maps. The one it ships forgets the
// oldest of a thousand entries, which a test under load would take for a
// revoked grant.
const entries = new Map();

const GRANT_MODELS = ['AccessToken', 'AuthorizationCode', 'RefreshToken', 'Grant'];

function model(name) {
  if (!entries.has(name)) entries.set(name, new Map());
  return entries.get(name);
}

export class MapAdapter {
  constructor(name) {
    this.items = model(name);
  }

  async upsert(id, payload, expiresIn) {
    this.items.set(id, { payload, expiresAt: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
  }

  async find(id) {
    const item = this.items.get(id);
    if (item && item.expiresAt <= Date.now()) {
      this.items.delete(id);
      return undefined;
    }
    return item?.payload;
  }

  async findByUid(uid) {
    return this.#first((payload) => payload.uid === uid);
  }

  async findByUserCode(userCode) {
    return this.#first((payload) => payload.userCode === userCode);
  }

  async consume(id) {
    const item = this.items.get(id);
    if (item) item.payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.items.delete(id);
  }

  async revokeByGrantId(grantId) {
    for (const [id, { payload }] of this.items) {
      if (payload.grantId === grantId) this.items.delete(id);
    }
  }

  #first(matches) {
    for (const { payload, expiresAt } of this.items.values()) {
      if (expiresAt > Date.now() && matches(payload)) return payload;
    }
    return undefined;
  }
}

/** Forgets every grant and all that hangs on it, as if each user had withdrawn consent. */
export function clearGrants() {
  let removed = 0;
  for (const name of GRANT_MODELS) {
    removed += model(name).size;
    model(name).clear();
  }
  return removed;
}
