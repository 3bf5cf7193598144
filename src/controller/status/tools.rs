//! How tools read what is told: statuses of the usual situations, judged by the rules of kstatus, and written down for
//! the test of Argo CD's script (`tests/docs.rs`).
//!
//! `UPDATE=1 cargo test --lib tools` writes `tests/tools/situations.json`.

use serde_json::{Value, json};

use super::*;
use crate::api::ProjectIntegration;
use crate::controller::memory::{Trouble, Verdict};
use crate::controller::settings::settings;
use crate::grant::Refusal;
use crate::grant::tests_support::view;
use crate::provider::registry::LookupError;
use crate::tenancy::TenantMismatch;

const NOW: i64 = 1_000;

/// The rules of kstatus for a kind that it does not know, as its README has them: being deleted, the generation that was
/// seen, the conditions that it calls standard, and `Ready`.
fn kstatus(object: &Value) -> &'static str {
    let status = &object["status"];
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating";
    }
    let observed = status["observedGeneration"].as_i64();
    if observed.is_some_and(|observed| Some(observed) != object["metadata"]["generation"].as_i64()) {
        return "InProgress";
    }
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let is = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind).map(|found| &found["status"]);
    match (is("Reconciling"), is("Stalled"), is("Ready")) {
        (Some(reconciling), ..) if reconciling == "True" => "InProgress",
        (_, Some(stalled), _) if stalled == "True" => "Failed",
        (.., Some(ready)) if ready != "True" => "InProgress",
        _ => "Current",
    }
}

/// What can be so.
#[derive(Default)]
struct Case {
    grant: Option<GrantView>,
    memory: Memory,
    tenancy: Option<TenantMismatch>,
    provider: Option<LookupError>,
    spec: Value,
    link: bool,
    denied: bool,
    deleting: bool,
}

impl Case {
    fn object(self) -> Value {
        let mut spec = json!({ "tenantId": "acme", "projectId": "web", "type": "slack" });
        spec.as_object_mut().unwrap().extend(self.spec.as_object().cloned().unwrap_or_default());
        let metadata = json!({ "name": "web.slack", "namespace": "acme", "uid": "uid-1", "generation": 2 });
        let mut integration: ProjectIntegration =
            serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
        let situation = Situation {
            integration: &integration,
            namespace: "acme".to_owned(),
            name: "web.slack".to_owned(),
            uid: "uid-1".to_owned(),
            tenancy: self.tenancy.map_or(Ok(()), Err),
            settings: settings(&integration),
            provider: self.provider.map(Err),
            grant: self.grant,
            foreign: false,
            left_over: None,
            unreadable: None,
            later: None,
            binding: std::sync::OnceLock::new(),
        };
        let link = AuthorizationStatus {
            secret_name: "web.slack-authorization-1".to_owned(),
            expires_at: "1970-01-01T00:26:40Z".to_owned(),
        };
        let status = compute(&Facts {
            situation: &situation,
            memory: &self.memory,
            held: None,
            step: &Step::Wait(None),
            next_refresh: BTreeMap::new(),
            authorization: self.link.then_some(link),
            denied: self.denied,
            connect_error: None,
            adopting: None,
            disconnected_key: None,
            handled: BTreeMap::new(),
            now: Timestamp::from_second(NOW).unwrap(),
        });
        integration.status = Some(status);
        let mut object = serde_json::to_value(&integration).unwrap();
        if self.deleting {
            object["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:16:40Z");
        }
        object
    }
}

fn trouble(reason: Reason) -> Memory {
    let retry_at = Timestamp::from_second(NOW + 10).unwrap();
    let trouble = Trouble { about: None, failures: 1, reason, cause: "it said no".to_owned(), retry_at };
    Memory { troubles: [(None, trouble)].into(), ..Memory::default() }
}

fn held() -> GrantView {
    view(NOW - 60, Some(NOW + 3_600))
}

fn refused() -> GrantView {
    let refusal = Refusal { epoch: 1, at: Timestamp::UNIX_EPOCH, message: "invalid_grant".to_owned(), replaced: false };
    GrantView { refused: Some(refusal), ..held() }
}

fn rejected() -> Memory {
    let mut memory = Memory::default();
    memory.health.verdict =
        Some(Verdict { healthy: Some(false), reason: Reason::Rejected, message: "The app says no.".to_owned() });
    memory
}

/// A situation, and what kstatus and Argo CD say of it.
fn cases() -> Vec<(&'static str, Case, &'static str, &'static str)> {
    let case = Case::default;
    let mismatch = TenantMismatch::Unlabelled { namespace: "acme".to_owned() };
    vec![
        ("connected", Case { grant: Some(held()), ..case() }, "Current", "Healthy"),
        ("never connected", case(), "Failed", "Suspended"),
        ("a link waits", Case { link: true, ..case() }, "InProgress", "Suspended"),
        ("denied", Case { denied: true, ..case() }, "Failed", "Suspended"),
        ("refused for good", Case { grant: Some(refused()), ..case() }, "Failed", "Degraded"),
        (
            "a refresh failed",
            Case { grant: Some(held()), memory: trouble(Reason::RefreshFailing), ..case() },
            "Current",
            "Healthy",
        ),
        (
            "the client is refused",
            Case { grant: Some(held()), memory: trouble(Reason::ClientCredentialsInvalid), ..case() },
            "Failed",
            "Degraded",
        ),
        ("expired", Case { grant: Some(view(NOW - 60, Some(NOW - 1))), ..case() }, "InProgress", "Progressing"),
        ("rejected", Case { grant: Some(held()), memory: rejected(), ..case() }, "InProgress", "Progressing"),
        (
            "suspended",
            Case { grant: Some(held()), spec: json!({ "suspend": true }), ..case() },
            "InProgress",
            "Suspended",
        ),
        ("not the tenant's", Case { tenancy: Some(mismatch), grant: Some(held()), ..case() }, "Failed", "Degraded"),
        (
            "a spec that cannot be read",
            Case { spec: json!({ "refresh": { "before": "soon" } }), ..case() },
            "Failed",
            "Degraded",
        ),
        ("being deleted", Case { grant: Some(held()), deleting: true, ..case() }, "Terminating", "Healthy"),
    ]
}

#[test]
fn tools_see_what_is_so() {
    let mut told = vec![];
    for (name, case, wanted, argo) in cases() {
        let object = case.object();
        assert_eq!(kstatus(&object), wanted, "{name}: {object:#}");
        told.push(json!({ "name": name, "argo": argo, "object": object }));
    }
    // What the API server makes of an object that nobody has looked at, and of one whose spec has changed since.
    let mut fresh = Case { grant: Some(held()), ..Case::default() }.object();
    fresh["metadata"]["generation"] = json!(3);
    assert_eq!(kstatus(&fresh), "InProgress", "changed");
    told.push(json!({ "name": "changed", "argo": "Progressing", "object": fresh.clone() }));
    fresh["status"] = json!({ "observedGeneration": -1 });
    assert_eq!(kstatus(&fresh), "InProgress", "just created");
    told.push(json!({ "name": "just created", "argo": "Progressing", "object": fresh }));

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/situations.json");
    let text = format!("{:#}\n", Value::Array(told));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == text, "{path} is stale; run `UPDATE=1 cargo test --lib tools`");
}
