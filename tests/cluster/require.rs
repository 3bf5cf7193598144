//! What a test does where a cluster, or a part of it, cannot be had: on a person's machine it is
//! skipped with a line that says so, and with `CI=true` it fails.

use std::fmt::Display;

use tokio::sync::OnceCell;

use super::{Cluster, Options, Unavailable, progress};

/// A part that not every cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Namespaces are deleted and garbage is collected.
    ControllerManager,
    /// [`Cluster::audit_events`] works: the cluster was started with `audit_log`.
    AuditLog,
    /// The API server was started here, so that it can be stopped and given arguments.
    OwnApiServer,
}

impl Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ControllerManager => "a controller manager",
            Self::AuditLog => "an audit log",
            Self::OwnApiServer => "an API server started by the test",
        })
    }
}

/// Whether a test that lacks something must fail, by the value of `CI`.
pub fn must_fail(ci: Option<&str>) -> bool {
    matches!(ci, Some("true" | "1"))
}

/// Says that `test` is skipped and why; panics with `CI=true`.
///
/// # Panics
/// With `CI=true`.
#[track_caller]
pub fn skip(test: &str, why: impl Display) {
    assert!(!must_fail(std::env::var("CI").ok().as_deref()), "{test} cannot be skipped with CI=true: {why}");
    say_skipped(test, why);
}

fn say_skipped(test: &str, why: impl Display) {
    progress::say(format_args!("SKIPPED {test}: {why}"));
}

/// Starts a cluster for `test`. `None` where no control plane can be had and the test is skipped.
///
/// # Panics
/// When a control plane is there and does not start, and with `CI=true`.
pub async fn start_or_skip(test: &str, options: Options) -> Option<Cluster> {
    match try_start(options).await {
        Ok(cluster) => Some(cluster),
        Err(unavailable) => {
            skip(test, unavailable);
            None
        }
    }
}

/// One cluster with default options for all tests of this process, which must keep to namespaces
/// of their own. It ends with the process.
///
/// # Panics
/// As [`start_or_skip`].
pub async fn shared(test: &str) -> Option<&'static Cluster> {
    static SHARED: OnceCell<Result<Cluster, Unavailable>> = OnceCell::const_new();
    match SHARED.get_or_init(|| try_start(Options::default())).await {
        Ok(cluster) => Some(cluster),
        Err(unavailable) => {
            skip(test, unavailable);
            None
        }
    }
}

async fn try_start(options: Options) -> Result<Cluster, Unavailable> {
    match Cluster::start(options).await {
        Ok(cluster) => Ok(cluster),
        Err(error) => match error.downcast::<Unavailable>() {
            Ok(unavailable) => Err(unavailable),
            Err(error) => panic!("the control plane does not start: {error:?}"),
        },
    }
}

impl Cluster {
    /// Whether the cluster has `part`; if not, `test` is to return, and this has said why. Whoever
    /// names a cluster with `TEST_KUBECONFIG` chose one whose API server is not the test's: that
    /// is no failure even with `CI=true`.
    #[track_caller]
    pub fn has_or_skip(&self, part: Part, test: &str) -> bool {
        let has = self.has(part);
        let why = format!("it needs {part}, which the cluster from {} lacks", self.origin());
        if !has && self.is_provided() && part != Part::ControllerManager {
            say_skipped(test, why);
        } else if !has {
            skip(test, why);
        }
        has
    }
}
