//! The integrations of the namespace: those that are not ready, with the advice that `status` gives.

use integration_operator::api::project_integration::SecretKeyRef;
use integration_operator::api::{ConditionType, ProjectIntegration, Reason};
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::core::DeserializeGuard;

use super::check::Check;
use super::look::Look;
use super::providers::named;
use crate::cluster::Cluster;
use crate::status::advice::{advice, reason};
use crate::status::{condition, is_true};

const NAME: &str = "integrations";

/// What could be read of them.
pub(crate) struct Integrations {
    /// Those that could be read.
    pub(crate) read: Vec<ProjectIntegration>,
    /// A check for each of them that is not well, and for each that could not be read.
    pub(crate) checks: Vec<Check>,
}

/// Reads those of the namespace.
pub(crate) async fn look(cluster: &Cluster) -> Integrations {
    let skipped = |why: String| Integrations { read: Vec::new(), checks: vec![Check::skipped(NAME, why)] };
    let list = match Look::of(cluster.guarded(false).list(&ListParams::default()).await) {
        Look::Found(list) => list,
        Look::Absent => return skipped("their kind is not installed".to_owned()),
        Look::Denied(why) | Look::Failed(why) => return skipped(format!("they could not be listed: {why}")),
    };
    let (mut read, mut unreadable) = (Vec::new(), Vec::new());
    for DeserializeGuard(item) in list.items {
        match item {
            Ok(integration) => read.push(integration),
            Err(invalid) => {
                let title = format!("integration {}", invalid.metadata.name.unwrap_or_default());
                let says = format!("it cannot be read: {}", invalid.error);
                unreadable.push(Check::failed(title, says, "mend it, or use the plugin of the operator's release"));
            }
        }
    }
    let mut checks = checks(&cluster.namespace, &read);
    checks.extend(unreadable);
    for integration in &read {
        for (title, key) in secrets(integration) {
            checks.push(named(cluster, &title, key).await);
        }
    }
    Integrations { read, checks }
}

/// One check for all that are well, and one for each other.
fn checks(namespace: &str, integrations: &[ProjectIntegration]) -> Vec<Check> {
    let (ready, other): (Vec<_>, Vec<_>) =
        integrations.iter().partition(|integration| is_true(integration, ConditionType::Ready));
    let mut checks: Vec<Check> = other.into_iter().map(judge).collect();
    let count = integrations.len();
    if count == 0 {
        checks.push(Check::skipped(NAME, format!("there are none in namespace {namespace}")));
    } else if !ready.is_empty() {
        checks.insert(0, Check::ok(NAME, format!("{} of {count} in namespace {namespace} are ready", ready.len())));
    }
    checks
}

fn judge(integration: &ProjectIntegration) -> Check {
    let title = format!("integration {}", integration.name_any());
    let to_do = advice(integration).unwrap_or_else(|| "see the operator's log".to_owned());
    let Some(ready) = condition(integration, ConditionType::Ready) else {
        return Check::failed(title, "the operator has not looked at it yet", to_do);
    };
    let says = format!("{}: {}", ready.reason, ready.message);
    // These wait for a person who has not come yet; nothing is out of order.
    let waits = reason(&ready.reason).is_some_and(|reason| {
        matches!(
            reason,
            Reason::AuthorizationRequired
                | Reason::ApiKeyMissing
                | Reason::ChoiceRequired
                | Reason::Disconnected
                | Reason::Suspended
        )
    });
    if waits { Check::warning(title, says, to_do) } else { Check::failed(title, says, to_do) }
}

/// The secrets that webhooks are compared with, and that events are signed with.
fn secrets(integration: &ProjectIntegration) -> Vec<(String, &SecretKeyRef)> {
    let name = integration.name_any();
    let (webhook, events) = (&integration.spec.webhook, &integration.spec.events);
    let comes = webhook.iter().flat_map(|webhook| &webhook.signing_secret_refs);
    let comes = comes.map(|key| (format!("webhook of {name}"), key));
    let goes = events.iter().filter_map(|events| events.signing_secret_ref.as_ref());
    comes.chain(goes.map(|key| (format!("events of {name}"), key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use crate::status::sample;
    use integration_operator::api::project_integration::{Events, Webhook};

    #[test]
    fn each_that_is_not_ready_has_its_advice() {
        let mut hooked = sample::connected();
        let key = |name: &str| SecretKeyRef { name: name.to_owned(), key: "secret".to_owned() };
        hooked.spec.webhook = Some(Webhook { signing_secret_refs: vec![key("hook")] });
        hooked.spec.events = Some(Events { signing_secret_ref: Some(key("events")), ..Events::default() });
        let named: Vec<_> = secrets(&hooked).into_iter().map(|(title, key)| (title, key.name.clone())).collect();
        assert_eq!(
            named,
            [("webhook of web.slack".into(), "hook".into()), ("events of web.slack".into(), "events".into())]
        );
        let found = checks("acme", &[hooked, sample::unauthorized(), sample::failing(), sample::fresh()]);
        let verdicts: Vec<Verdict> = found.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Warning, Verdict::Failed, Verdict::Failed]);
        assert_eq!(found[0].says, "1 of 4 in namespace acme are ready");
        assert_eq!(found[1].to_do.as_deref(), Some("connect it: kubectl integration connect web.slack -n acme"));
        assert!(found[2].says.starts_with("RefreshFailing: Slack answered 503"), "{found:?}");
    }

    #[test]
    fn none_at_all() {
        assert_eq!(checks("acme", &[])[0].verdict, Verdict::Skipped);
    }
}
