//! What each metric is called and means: the registry and `docs/metrics.md` are made of this.

/// What the names of all metrics begin with.
pub const PREFIX: &str = "integration_operator";

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name, without [`PREFIX`] and without what its type adds.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// In what it is counted.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a few words.
    pub help: &'static str,
    /// What more there is to know, for the reference.
    pub more: &'static str,
}

impl Definition {
    /// The name to ask for; a histogram has three, which begin with it.
    pub fn full_name(&self) -> String {
        let total = if self.kind == "counter" { "_total" } else { "" };
        format!("{PREFIX}_{}{total}", self.name)
    }
}

pub(super) const REFRESHES: Definition = Definition {
    name: "refreshes",
    kind: "counter",
    unit: "refreshes",
    labels: &["provider", "outcome"],
    help: "Refreshes by provider and outcome",
    more: "`outcome`: `renewed`; `refused` where a person has to authorize again; `superseded` where somebody else wrote \
           first; otherwise a [reason](conditions.md#reasons), such as `RefreshFailing`, `RefreshAmbiguous` or \
           `ClientCredentialsInvalid`.",
};
pub(super) const LATENESS: Definition = Definition {
    name: "refresh_lateness_seconds",
    kind: "histogram",
    unit: "seconds",
    labels: &[],
    help: "Time from the planned moment to the request",
    more: "Of refreshes that succeeded and that nobody asked for. Has exemplars.",
};
pub(super) const TOKEN_REQUESTS: Definition = Definition {
    name: "token_request_seconds",
    kind: "histogram",
    unit: "seconds",
    labels: &["provider"],
    help: "Time that providers take for a token",
    more: "Of refreshes, whatever came of them. Has exemplars.",
};
pub(super) const RECONCILE_ERRORS: Definition = Definition {
    name: "reconcile_errors",
    kind: "counter",
    unit: "reconciles",
    labels: &["reason"],
    help: "Reconciles that failed, by reason",
    more: "Each is made again within seconds. `StorageFailed`: the API server refused a write or a read.",
};
pub(super) const INTEGRATIONS: Definition = Definition {
    name: "integrations",
    kind: "gauge",
    unit: "integrations",
    labels: &["reason"],
    help: "Integrations by reason of their Ready condition",
    more: "On the leader alone. The reasons are those of [conditions](conditions.md#reasons).",
};
pub(super) const SOONEST_EXPIRY: Definition = Definition {
    name: "soonest_expiry_timestamp_seconds",
    kind: "gauge",
    unit: "Unix time",
    labels: &[],
    help: "When the first access token that is to be refreshed expires (Unix time); 0 when none does",
    more: "On the leader alone. A moment that is past says that something is not refreshed.",
};
pub(super) const ORPHANS: Definition = Definition {
    name: "orphaned_grants",
    kind: "gauge",
    unit: "grants",
    labels: &[],
    help: "Grants whose integration is gone",
    more: "On the leader alone, counted once an hour. They are removed after 30 days and not revoked.",
};
pub(super) const GRANTS: Definition = Definition {
    name: "grants",
    kind: "gauge",
    unit: "grants",
    labels: &["key"],
    help: "Grants by the name of the key that they are sealed with; empty for none",
    more: "On the leader alone, with `--grant-key-file`. A key that no grant is sealed with may leave the file.",
};
pub(super) const GRANT_KEY_FILE: Definition = Definition {
    name: "grant_key_file_usable",
    kind: "gauge",
    unit: "0 or 1",
    labels: &[],
    help: "1 while --grant-key-file can be used, 0 while the keys before are in use instead of it",
    more: "The log says what is wrong with the file.",
};
pub(super) const LEADER: Definition = Definition {
    name: "leader",
    kind: "gauge",
    unit: "0 or 1",
    labels: &[],
    help: "1 while this replica reconciles",
    more: "The sum over all replicas is 1, and 0 for some seconds while the leader changes.",
};
pub(super) const CALLBACKS: Definition = Definition {
    name: "callbacks",
    kind: "counter",
    unit: "callbacks",
    labels: &["ending"],
    help: "Callbacks by ending",
    more: "`ending`: `success`, `pending`, `confirm`, or the word that a frontend gets as `error`, see [HTTP](http.md).",
};
pub(super) const REQUESTS: Definition = Definition {
    name: "http_requests",
    kind: "counter",
    unit: "requests",
    labels: &["method", "route", "status"],
    help: "Requests by method, route and status",
    more: "`route` is a pattern, never a path. Made-up methods are `other`, paths outside of all routes `unmatched`.",
};

pub(super) const WEBHOOKS: Definition = Definition {
    name: "webhooks",
    kind: "counter",
    unit: "webhooks",
    labels: &["provider", "verdict"],
    help: "Webhooks by provider and verdict",
    more: "`verdict`: `verified`, `handshake`, `distrusted`, `no_key` where no secret is set up, `nobody` where no connection \
           is meant. `ended`, that an app said that a connection has ended, is counted beside it.",
};

pub(super) const EVENTS: Definition = Definition {
    name: "events",
    kind: "counter",
    unit: "events",
    labels: &["provider", "outcome"],
    help: "Events for receivers by provider and outcome",
    more: "`outcome`: `delivered`, `duplicate`, `no_receiver`, `not_served` where the integration is suspended or being \
           deleted, `parked`; and what a repetition is asked for: `refused`, `unreachable`, `misconfigured`, \
           `cluster_unavailable`.",
};

pub(super) const ACTIONS: Definition = Definition {
    name: "actions",
    kind: "counter",
    unit: "actions",
    labels: &["provider", "action", "outcome"],
    help: "Actions by provider, action and outcome",
    more: "`outcome`: `done`, `refused` by the app, `not_ours` where a target does not belong to the connection, `invalid`, \
           `unauthorized`, `limited`, `unavailable`, `unknown` where perhaps it was carried out. `beyond_limit` is counted \
           beside it where the limit is only watched.",
};

/// All metrics, in the order in which they are told.
pub const ALL: &[Definition] = &[
    REFRESHES,
    LATENESS,
    TOKEN_REQUESTS,
    RECONCILE_ERRORS,
    INTEGRATIONS,
    SOONEST_EXPIRY,
    ORPHANS,
    GRANTS,
    GRANT_KEY_FILE,
    LEADER,
    CALLBACKS,
    REQUESTS,
    ACTIONS,
    WEBHOOKS,
    EVENTS,
];
