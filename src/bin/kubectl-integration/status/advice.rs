//! What a person can do about a reason. The operator's message says cause and remedy; here is the command for it.

use integration_operator::api::{ConditionType, ProjectIntegration, READABLE_LABEL, Reason};
use integration_operator::flow::api_key::TOKEN_TYPE;
use kube::ResourceExt as _;

use super::{condition, is_true};

/// What to do, where there is something to do.
pub(crate) fn advice(integration: &ProjectIntegration) -> Option<String> {
    if is_true(integration, ConditionType::Ready) {
        return None;
    }
    let (name, namespace) = (integration.name_any(), integration.namespace().unwrap_or_default());
    let plugin = |command: &str| format!("kubectl integration {command} {name} -n {namespace}");
    let Some(ready) = condition(integration, ConditionType::Ready) else {
        return Some(
            "see whether the operator runs: kubectl get pods -A -l app.kubernetes.io/name=integration-operator"
                .to_owned(),
        );
    };
    let provider = provider(integration);
    let advice = match reason(&ready.reason)? {
        Reason::Rejected if uses_key(integration) => {
            format!("{}; to look again at once: {}", give_key(integration), plugin("check"))
        }
        Reason::AuthorizationRequired
        | Reason::AuthorizationDenied
        | Reason::ReauthorizationRequired
        | Reason::Disconnected
        | Reason::ScopesInsufficient
        | Reason::Revoked
        | Reason::Rejected => format!("connect it: {}", plugin("connect")),
        Reason::ProviderChanged => format!("connect it again for the provider as it is now: {}", plugin("connect")),
        Reason::AccountMismatch => format!(
            "connect with the account it had, or give that one up first: {} && {}",
            plugin("disconnect"),
            plugin("connect")
        ),
        Reason::ForeignGrant => format!(
            "it was restored or created anew beside an old grant; to take that over, with rights in the operator's \
             namespace: {}",
            plugin("adopt")
        ),
        Reason::ApiKeyMissing => give_key(integration),
        Reason::ChoiceRequired => choose(integration).unwrap_or_else(|| {
            format!(
                "make one at the app, or give the account access to one, and have it asked again: {}",
                plugin("check")
            )
        }),
        Reason::Suspended => format!(
            "take it up again: kubectl patch pint {name} -n {namespace} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"
        ),
        Reason::TenantMismatch => format!(
            "compare spec.tenantId with the namespace's label: kubectl get namespace {namespace} -L integrations.tms.dev/tenant"
        ),
        Reason::ProviderNotFound
        | Reason::ProviderNotAllowed
        | Reason::ProviderNotReady
        | Reason::ClientCredentialsMissing
        | Reason::ClientCredentialsInvalid
        | Reason::DiscoveryFailed => format!("look at the provider: kubectl describe {provider}"),
        Reason::SecretConflict => {
            "delete the Secret that is in the way, or name another one in spec.secret.name".to_owned()
        }
        Reason::InvalidSpec => format!("mend the spec: kubectl edit pint {name} -n {namespace}"),
        Reason::RefreshFailing | Reason::RefreshAmbiguous | Reason::Expired => {
            format!("the operator tries again by itself; to try now: {}", plugin("refresh"))
        }
        Reason::ProviderUnavailable | Reason::RateLimited | Reason::AccountUnknown => {
            format!("wait; to look again now: {}", plugin("check"))
        }
        Reason::StorageFailed => "mend what the message says; see the operator's log as well".to_owned(),
        Reason::Connected
        | Reason::Accepted
        | Reason::NotStalled
        | Reason::Granted
        | Reason::Adopted
        | Reason::Refreshed
        | Reason::NeverExpires
        | Reason::Verified
        | Reason::NotChecked
        | Reason::Deleting
        | Reason::RevocationFailed
        | Reason::RevocationSkippedShared => return None,
    };
    Some(advice)
}

/// How one of several sites or accounts is chosen, the first as an example; `None` where there is none.
fn choose(integration: &ProjectIntegration) -> Option<String> {
    let (name, namespace) = (integration.name_any(), integration.namespace().unwrap_or_default());
    let choice = integration.status.as_ref()?.choices.first()?;
    let (parameter, value) = (&choice.parameter, &choice.options.first()?.value);
    Some(format!(
        "choose one, such as: kubectl patch pint {name} -n {namespace} --type=merge -p \
         '{{\"spec\":{{\"parameters\":{{\"{parameter}\":\"{value}\"}}}}}}'"
    ))
}

/// Whether it is connected by an API key, or is to be.
fn uses_key(integration: &ProjectIntegration) -> bool {
    integration.spec.api_key.is_some() || holds_key(integration)
}

/// Whether an API key is held for it.
pub(crate) fn holds_key(integration: &ProjectIntegration) -> bool {
    let token = integration.status.as_ref().and_then(|status| status.token.as_ref());
    token.is_some_and(|token| token.type_.as_deref() == Some(TOKEN_TYPE))
}

/// How an API key is given: by the Secret that the spec names, or in two ways where it names none.
pub(crate) fn give_key(integration: &ProjectIntegration) -> String {
    let (name, namespace) = (integration.name_any(), integration.namespace().unwrap_or_default());
    let spec = &integration.spec;
    match &spec.api_key {
        Some(named) => {
            let (secret, key) = (&named.secret_ref.name, &named.secret_ref.key);
            format!("put the key into Secret {secret} under {key}, labelled {READABLE_LABEL}=true")
        }
        None => format!(
            "give it an API key, by a Secret labelled {READABLE_LABEL}=true:\n  \
             kubectl patch pint {name} -n {namespace} --type=merge \
             -p '{{\"spec\":{{\"apiKey\":{{\"secretRef\":{{\"name\":\"<secret>\",\"key\":\"<key>\"}}}}}}}}'\n\
             or over HTTP, with {{\"api_key\": \"…\"}} in key.json:\n  \
             curl -X PUT -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d @key.json \
             <operator>/v1/tenants/{}/projects/{}/integrations/{}/credentials",
            spec.tenant_id, spec.project_id, spec.type_
        ),
    }
}

/// The provider, as kubectl is asked for it.
fn provider(integration: &ProjectIntegration) -> String {
    use integration_operator::api::ProviderKind;
    let type_ = &integration.spec.type_;
    match integration.spec.provider_kind {
        ProviderKind::ClusterIntegrationProvider => format!("clusterintegrationprovider {type_}"),
        ProviderKind::IntegrationProvider => {
            format!("integrationprovider {type_} -n {}", integration.namespace().unwrap_or_default())
        }
    }
}

/// A reason by its identifier; none for one that a later operator has.
pub(crate) fn reason(name: &str) -> Option<Reason> {
    Reason::ALL.iter().map(|(reason, _)| *reason).find(|reason| reason.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;
    use integration_operator::api::project_integration::{ApiKey, SecretKeyRef};

    #[test]
    fn what_is_well_needs_no_advice() {
        assert_eq!(advice(&sample::connected()), None);
    }

    #[test]
    fn a_key_is_given_and_not_consented_to() {
        let said = advice(&sample::keyless()).unwrap();
        for part in ["kubectl patch pint web.mail -n acme", "secretRef", "/projects/web/integrations/mail/credentials"]
        {
            assert!(said.contains(part), "{said}");
        }
        let mut named = sample::keyless();
        let reference = SecretKeyRef { name: "mail-key".to_owned(), key: "api-key".to_owned() };
        named.spec.api_key = Some(ApiKey { secret_ref: reference });
        let expected = "put the key into Secret mail-key under api-key, labelled integrations.tms.dev/readable=true";
        assert_eq!(advice(&named).as_deref(), Some(expected));
    }

    #[test]
    fn what_a_person_can_do_is_a_command() {
        let expected = "connect it: kubectl integration connect web.slack -n acme";
        assert_eq!(advice(&sample::unauthorized()).as_deref(), Some(expected));
        assert!(advice(&sample::fresh()).is_some_and(|advice| advice.contains("kubectl get pods")));
    }
}
