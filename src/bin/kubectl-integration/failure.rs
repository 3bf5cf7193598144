//! What can go wrong, in the words that a person at a terminal needs: what was tried, why not, and what to do.

use std::time::Duration;

use kube::core::Status;

use crate::words::{self, chain};

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No way into a cluster.
    #[error("no cluster to talk to: {}\nName one with --kubeconfig and --context.", chain(.0))]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// No way into a cluster, neither by a kubeconfig nor from within a Pod.
    #[error("no cluster to talk to: {}\nName one with --kubeconfig and --context.", chain(.0))]
    Inferred(#[source] kube::config::InferConfigError),
    /// The object is not there.
    #[error("{what} not found")]
    NotFound {
        /// The object.
        what: String,
    },
    /// A right is missing.
    #[error(
        "you may not {verb} {what}: {}\nAsk for a Role that allows it; `kubectl auth can-i --list` shows what you may do.",
        words::sentence(&.status.message)
    )]
    Forbidden {
        /// The verb of the missing right.
        verb: &'static str,
        /// What it is missing for.
        what: String,
        /// The API server's word, which names user, verb and resource.
        status: Box<Status>,
    },
    /// The API server refused or failed.
    #[error("cannot {verb} {what}: {}", chain(.source))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
    /// The annotation was written, and nobody took it up.
    #[error(
        "the operator has not answered within {}: {annotation} of {what} is not in status.handled.\n\
         See whether it runs, and whether one replica holds the Lease:\n  \
         kubectl get pods,leases -A -l app.kubernetes.io/name=integration-operator\n  \
         kubectl logs -A -l app.kubernetes.io/name=integration-operator --tail=50\n\
         The request stays on the object and is carried out once the operator is back.",
        words::span(*waited)
    )]
    NotAnswering {
        /// The integration.
        what: String,
        /// The annotation.
        annotation: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// It was done, or decided, and it is not what was wanted.
    #[error("{0}")]
    Refused(String),
    /// The operator's HTTP API could not be reached.
    #[error("cannot reach {server}: {}", chain(.source))]
    Http {
        /// Its address.
        server: String,
        /// The client's word.
        #[source]
        source: reqwest::Error,
    },
    /// This machine does not do its part.
    #[error("cannot {what}: {source}")]
    Local {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An object cannot be written as text.
    #[error("cannot write {what}: {reason}")]
    Output {
        /// The object.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Failure {
    /// Sorts an error of the API server by what a person can do about it.
    pub(crate) fn api(verb: &'static str, what: impl Into<String>, error: kube::Error) -> Self {
        let what = what.into();
        match error {
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden { verb, what, status },
            kube::Error::Api(status) if status.is_not_found() => Self::NotFound { what },
            error => Self::Api { verb, what, source: Box::new(error) },
        }
    }

    /// It was done, or decided, and it is not what was wanted.
    pub(crate) fn refused(words: impl Into<String>) -> Self {
        Self::Refused(words.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure(message, reason).with_code(code)))
    }

    #[test]
    fn a_missing_right_is_named() {
        let said = "projectintegrations \"web.slack\" is forbidden: User \"jane\" cannot patch resource";
        let failure = Failure::api("patch", "integration web.slack", refused(403, "Forbidden", said)).to_string();
        assert!(failure.starts_with("you may not patch integration web.slack: projectintegrations"), "{failure}");
        assert!(failure.contains("User \"jane\" cannot patch resource"), "{failure}");
    }

    #[test]
    fn a_missing_object_is_named() {
        let failure = Failure::api("get", "integration web.slack in namespace acme", refused(404, "NotFound", "x"));
        assert_eq!(failure.to_string(), "integration web.slack in namespace acme not found");
    }

    #[test]
    fn silence_says_where_to_look() {
        let what = "integration web.slack in namespace acme".to_owned();
        let annotation = integration_operator::api::request::REFRESH;
        let failure = Failure::NotAnswering { what, annotation, waited: Duration::from_mins(1) }.to_string();
        assert!(failure.contains("within 1m") && failure.contains("kubectl get pods,leases"), "{failure}");
    }
}
