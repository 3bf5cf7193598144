//! How often somebody may ask: limits per caller, per client address and per integration.
//!
//! Limits are each replica's own and live in memory. Keys are hashed into a fixed number of buckets, so that memory is
//! bounded whatever arrives; two keys in one bucket share its allowance, which only a flood would notice. The hash is
//! seeded at random, so that nobody can pick a key to share with another.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::error::ApiError;

/// Buckets of each limit: some 5 MiB when every one of them is in use.
const BUCKETS: u64 = 1 << 17;

/// So many a minute, in the long run and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a minute in the long run.
    pub per_minute: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// `per_minute` in the long run, and as many at once.
    pub const fn per_minute(per_minute: NonZeroU32) -> Self {
        Self { per_minute, burst: per_minute }
    }
}

/// The limits of each replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOptions {
    /// Install and confirm, for each Kubernetes user. The backend of a product is often one user for all its tenants.
    pub caller: Rate,
    /// Install, for each integration. Each may cost an attempt, and an integration has ten of them at most.
    pub integration: Rate,
    /// Start, for each client address: link previews and reloads of a whole office behind one address.
    pub start: Rate,
    /// Callback, for each client address: a whole company may be asked to connect on the same morning.
    pub callback: Rate,
    /// Actions, messages and requests by proxy, for each integration.
    pub action: Rate,
    /// Whether [`Self::action`] is only watched: who goes beyond it is counted and let through.
    pub observe_actions: bool,
}

impl Default for LimitOptions {
    /// 600 a minute for each caller and address, and actions of each integration; 20 a minute for installs of each.
    fn default() -> Self {
        let many = Rate::per_minute(NonZeroU32::MIN.saturating_add(599));
        let few = Rate::per_minute(NonZeroU32::MIN.saturating_add(19));
        Self { caller: many, integration: few, start: many, callback: many, action: many, observe_actions: false }
    }
}

/// Counts requests against [`LimitOptions`].
pub struct Limits {
    caller: Limit,
    integration: Limit,
    start: Limit,
    callback: Limit,
    action: Limit,
    observe_actions: bool,
}

/// What the limit on actions says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Within the limit.
    Within,
    /// Beyond it, and let through.
    Beyond,
}

impl Limits {
    /// Nothing counted yet.
    pub fn new(options: LimitOptions) -> Self {
        Self {
            caller: Limit::new(options.caller),
            integration: Limit::new(options.integration),
            start: Limit::new(options.start),
            callback: Limit::new(options.callback),
            action: Limit::new(options.action),
            observe_actions: options.observe_actions,
        }
    }

    /// Install or confirm by a Kubernetes user.
    pub fn caller(&self, username: &str) -> Result<(), ApiError> {
        self.caller.check(username)
    }

    /// Install of one integration.
    pub fn integration(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        self.integration.check((namespace, name))
    }

    /// An action of one integration.
    pub fn action(&self, namespace: &str, name: &str) -> Result<Allowance, ApiError> {
        match self.action.check((namespace, name)) {
            Ok(()) => Ok(Allowance::Within),
            Err(_) if self.observe_actions => Ok(Allowance::Beyond),
            Err(error) => Err(error),
        }
    }

    /// A visit of the start page.
    pub fn start(&self, client: IpAddr) -> Result<(), ApiError> {
        self.start.check(network(client))
    }

    /// A callback.
    pub fn callback(&self, client: IpAddr) -> Result<(), ApiError> {
        self.callback.check(network(client))
    }
}

struct Limit {
    buckets: DefaultKeyedRateLimiter<u64>,
    hasher: RandomState,
}

impl Limit {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        Self { buckets: RateLimiter::keyed(quota), hasher: RandomState::new() }
    }

    fn check(&self, key: impl Hash) -> Result<(), ApiError> {
        let bucket = self.hasher.hash_one(key) % BUCKETS;
        self.buckets.check_key(&bucket).map_err(|until| ApiError::TooMany {
            retry_after: until.wait_time_from(DefaultClock::default().now()).max(Duration::from_secs(1)),
        })
    }
}

/// Who shares an allowance: an IPv4 address, or the 64 bits of an IPv6 network, of which one host has all the rest.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(burst: u32) -> Rate {
        Rate { per_minute: NonZeroU32::MIN, burst: NonZeroU32::new(burst).unwrap() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_waits() {
        let limits = Limits::new(LimitOptions { callback: rate(3), ..LimitOptions::default() });
        for _ in 0..3 {
            assert!(limits.callback(ip("192.0.2.1")).is_ok());
        }
        let Err(ApiError::TooMany { retry_after }) = limits.callback(ip("192.0.2.1")) else { panic!("not limited") };
        assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
        assert!(limits.callback(ip("192.0.2.2")).is_ok());
        assert!(limits.start(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn actions_are_limited_or_watched() {
        let options = LimitOptions { action: rate(1), ..LimitOptions::default() };
        let limits = Limits::new(options);
        assert_eq!(limits.action("a", "web.slack").unwrap(), Allowance::Within);
        assert!(limits.action("a", "web.slack").is_err());
        assert!(limits.action("a", "web.zoom").is_ok());
        let limits = Limits::new(LimitOptions { observe_actions: true, ..options });
        assert_eq!(limits.action("a", "web.slack").unwrap(), Allowance::Within);
        assert_eq!(limits.action("a", "web.slack").unwrap(), Allowance::Beyond);
    }

    #[test]
    fn names_do_not_run_together() {
        let limits = Limits::new(LimitOptions { integration: rate(1), ..LimitOptions::default() });
        assert!(limits.integration("a", "bc").is_ok());
        assert!(limits.integration("ab", "c").is_ok());
        assert!(limits.integration("a", "bc").is_err());
    }

    #[test]
    fn a_host_has_one_allowance() {
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:ffff:ffff:ffff")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded() {
        let limit = Limit::new(rate(1));
        for key in 0..BUCKETS + 10_000 {
            let _ = limit.check(key);
        }
        assert!(limit.buckets.len() <= usize::try_from(BUCKETS).unwrap());
    }
}
