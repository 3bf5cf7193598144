//! The decision of a replica: the operator's own `plan::next`, called with what the replica knows.
//!
//! Each answer is remembered, since a search asks the same few thousand questions millions of times.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use integration_operator::grant::plan::{self, Asker, Moment, Profile, Step};
use integration_operator::grant::record::SUMMARY;
use integration_operator::grant::schedule::Timing;
use integration_operator::grant::{self, GrantView, Refusal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::Kind;
use super::state::{GRACE, Grant, Second};

/// What the plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Wait(Option<Second>),
    InFlight(Second),
    Ambiguous(Second),
    Refresh { replay: Option<Second> },
    Introspect,
    Probe,
}

/// Everything that a decision depends on.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Question {
    /// As its version does not matter, it is 0.
    pub view: Grant,
    pub holder: u8,
    pub boot: u8,
    pub asked: bool,
    pub now: Second,
    /// For how long the intent has been seen.
    pub seen_for: Option<Second>,
    pub kind: Kind,
}

thread_local! {
    static ANSWERS: RefCell<HashMap<Question, Decision>> = RefCell::default();
    static TEMPLATE: GrantView = template();
}

/// Asks the plan.
pub fn decide(mut question: Question) -> Decision {
    (question.view.version, question.view.attempt) = (0, 0);
    if let Some(answer) = ANSWERS.with_borrow(|answers| answers.get(&question).copied()) {
        return answer;
    }
    let answer = TEMPLATE.with(|template| ask(template, question));
    ANSWERS.with_borrow_mut(|answers| answers.insert(question, answer));
    answer
}

fn ask(template: &GrantView, question: Question) -> Decision {
    let view = view(template, &question.view);
    let requested: BTreeSet<Option<String>> = question.asked.then_some(None).into_iter().collect();
    let (holder, boot) = (holder(question.holder), boot(question.holder, question.boot));
    let intent = question.view.intent.map(|intent| intent.attempt.to_string());
    let seen_for = intent.zip(question.seen_for.map(|seconds| SignedDuration::from_secs(seconds.into())));
    let seen_for = seen_for.into_iter().collect();
    let asker = Asker { holder: &holder, boot: &boot, in_flight: None, seen_for: &seen_for };
    let moment = Moment { now: at(question.now), requested: &requested, not_before: &BTreeMap::new() };
    match plan::next(&view, Timing::default(), question.kind.profile(), asker, moment) {
        Step::Wait(at) => Decision::Wait(at.map(second)),
        Step::InFlight(at) => Decision::InFlight(second(at)),
        Step::Ambiguous { next, .. } => Decision::Ambiguous(second(next)),
        Step::Refresh { replay, .. } => Decision::Refresh { replay: replay.map(second) },
        Step::Introspect(_) => Decision::Introspect,
        Step::Probe(_) => Decision::Probe,
    }
}

impl Kind {
    /// The provider as its description has it.
    fn profile(self) -> Profile {
        Profile {
            rotation: self.described,
            grace: SignedDuration::from_secs(GRACE.into()),
            old_access_token: self.old_access_token,
            introspection: self.introspection,
            probe: self.probe,
        }
    }
}

fn view(template: &GrantView, grant: &Grant) -> GrantView {
    let mut view = template.clone();
    view.summary.epoch = grant.epoch.into();
    view.summary.generation = grant.generation.into();
    view.summary.obtained_at = at(grant.obtained);
    view.summary.expires_at = Some(at(grant.expires()));
    view.intents.extend(grant.intent.map(|intent| grant::Intent {
        attempt: intent.attempt.to_string(),
        set: None,
        epoch: intent.epoch.into(),
        boot: boot(intent.holder, intent.boot),
        holder: holder(intent.holder),
        first_sent: at(intent.first),
        deadline: at(intent.deadline),
    }));
    view.refused = grant.refused.then(|| Refusal {
        epoch: grant.epoch.into(),
        at: at(grant.obtained),
        message: String::new(),
        replaced: false,
    });
    view
}

fn template() -> GrantView {
    let summary = json!({
        "integration": { "namespace": "acme", "name": "web.app", "uid": "1" },
        "epoch": 1, "generation": 1, "obtainedAt": at(0), "expiresAt": at(3_600), "refreshable": true,
        "installedAt": at(0), "binding": "binding",
        "provider": { "kind": "ClusterIntegrationProvider", "name": "app", "uid": "2" },
    });
    let annotations = BTreeMap::from([(SUMMARY.to_owned(), summary.to_string())]);
    GrantView::from_metadata(&ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }).unwrap()
}

fn holder(number: u8) -> String {
    format!("pod-{number}")
}

fn boot(holder: u8, number: u8) -> String {
    format!("boot-{holder}-{number}")
}

fn at(second: Second) -> Timestamp {
    Timestamp::from_second(second.into()).unwrap()
}

fn second(at: Timestamp) -> Second {
    i32::try_from(at.as_second()).unwrap()
}
