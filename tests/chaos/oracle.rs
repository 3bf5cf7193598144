//! What became of every grant: the provider's books against what is held and what is told.
//!
//! Knows nothing of how things went wrong. It is asked when everything has come to rest: a refresh that is on its way would
//! look like a loss.

use std::collections::BTreeMap;
use std::fmt;

use integration_operator::api::ProjectIntegration;
use integration_operator::grant::GrantView;
use integration_operator::grant::store::grant_name;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::sandbox::{GrantRecord, Sandbox, Why};
use crate::world::{OPERATOR, World, condition};

/// The apps, by the name of their provider.
pub type Apps = BTreeMap<String, Sandbox>;

/// What became of the grant of one integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is held is what the provider has given last, and it is good.
    Kept,
    /// What is held is dead, and the conditions say so.
    LostAndTold {
        /// The reason of `Authorized`, or of `TokenFresh` where it is not decided yet.
        reason: String,
        /// Whether the provider has carried out one refresh more than we hold the answer of: what a crash between the
        /// provider's commit and ours leaves, and nobody can mend.
        answer_lost: bool,
    },
    /// What is held is dead, or nothing is held while the provider has something for us, and nobody was told.
    LostSilently(String),
    /// What is held is good, and was given up.
    GivenUp(String),
    /// The provider ended the grant for something that we did.
    RevokedByUs(Why),
    /// Nothing is held, nothing was given, and that is told.
    NeverConnected,
}

/// The verdict on one integration.
#[derive(Clone, Debug)]
pub struct Finding {
    pub namespace: String,
    pub name: String,
    pub verdict: Verdict,
    /// The grant at the provider that is or was held.
    pub record: Option<GrantRecord>,
}

/// The verdict on all of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Grants that the provider ended because a used token or code came back, at any time.
    pub reused: usize,
    /// Grants that the provider holds good and nobody holds: what was lost, before it was connected again.
    pub unheld: usize,
    /// The most requests ever in flight at once with one refresh token.
    pub most_in_flight: u32,
}

/// Compares everything with everything.
pub async fn audit(world: &World, apps: &Apps) -> Report {
    let integrations: Api<ProjectIntegration> = Api::all(world.client.clone());
    let integrations = integrations.list(&ListParams::default()).await.unwrap().items;
    let grants = world.secrets(OPERATOR).list(&ListParams::default()).await.unwrap().items;
    let mut report = Report::default();
    let mut held = vec![];
    for integration in integrations {
        let Some(app) = apps.get(&integration.spec.type_) else { continue };
        let name = grant_name(&integration.namespace().unwrap_or_default(), &integration.name_any());
        let finding = judge(app, &integration, grants.iter().find(|grant| grant.name_any() == name));
        if finding.verdict == Verdict::Kept {
            held.extend(finding.record.as_ref().map(|record| (integration.spec.type_.clone(), record.grant)));
        }
        report.findings.push(finding);
    }
    for (name, app) in apps {
        for record in app.ledger().grants {
            report.most_in_flight = report.most_in_flight.max(record.max_in_flight);
            match record.ended {
                Some(ending) => report.reused += usize::from(is_our_doing(ending.why)),
                None => report.unheld += usize::from(!held.contains(&(name.clone(), record.grant))),
            }
        }
    }
    report
}

/// Looks at one integration alone.
pub async fn look(world: &World, apps: &Apps, namespace: &str, name: &str) -> Finding {
    let integration = world.integrations(namespace).get(name).await.unwrap();
    let grant = world.secrets(OPERATOR).get_opt(&grant_name(namespace, name)).await.unwrap();
    judge(&apps[&integration.spec.type_], &integration, grant.as_ref())
}

fn judge(app: &Sandbox, integration: &ProjectIntegration, secret: Option<&Secret>) -> Finding {
    let grant = secret.and_then(|secret| serde_json::from_slice(&secret.data.as_ref()?.get("grant")?.0).ok());
    let view = secret.and_then(|secret| GrantView::from_metadata(&secret.metadata).ok());
    let (verdict, record) = verdict(app, integration, grant.as_ref(), view.as_ref());
    Finding { namespace: integration.namespace().unwrap_or_default(), name: integration.name_any(), verdict, record }
}

/// The verdict on one integration, from what is held and what is told.
fn verdict(
    app: &Sandbox,
    integration: &ProjectIntegration,
    grant: Option<&Value>,
    view: Option<&GrantView>,
) -> (Verdict, Option<GrantRecord>) {
    let authorized = condition(integration, "Authorized");
    let fresh = condition(integration, "TokenFresh");
    let held = grant.and_then(|grant| grant["tokens"]["refreshToken"].as_str());
    let Some(held) = held else {
        // By the account that was connected, which is this project's own.
        let workspace = format!("W-{}", integration.spec.project_id);
        let given = app.ledger().grants.into_iter().rfind(|record| record.workspace == workspace);
        let verdict = match &given {
            _ if authorized.1 != "AuthorizationRequired" => {
                Verdict::LostSilently(format!("nothing is held, and Authorized is {}", authorized.1))
            }
            Some(record) if record.ended.is_none() => {
                Verdict::LostSilently(format!("nothing is held, and the provider has {}", record.grant))
            }
            _ => Verdict::NeverConnected,
        };
        return (verdict, given);
    };
    let Some(record) = app.grant_of(held).and_then(|grant| app.grant(grant)) else {
        return (Verdict::LostSilently("the provider has never given what is held".to_owned()), None);
    };
    let good = app.is_good(held);
    let given_up = authorized.0 == "False" || view.is_some_and(|view| view.refused.is_some());
    let verdict = match record.ended {
        Some(ending) if is_our_doing(ending.why) => Verdict::RevokedByUs(ending.why),
        _ if good && given_up => Verdict::GivenUp(format!("Authorized is {}", authorized.1)),
        _ if good => Verdict::Kept,
        _ if authorized.1 == "ReauthorizationRequired" || fresh.1 == "RefreshAmbiguous" => Verdict::LostAndTold {
            reason: if authorized.0 == "False" { authorized.1 } else { fresh.1 },
            answer_lost: record.ended.is_none()
                && grant.and_then(|grant| grant["generation"].as_u64()).map(|held| held + 1)
                    == Some(u64::from(record.generation)),
        },
        _ => Verdict::LostSilently(format!(
            "what is held is dead ({:?}), Authorized is {}, TokenFresh is {}",
            record.ended.map(|ending| ending.why),
            authorized.1,
            fresh.1
        )),
    };
    (verdict, Some(record))
}

const fn is_our_doing(why: Why) -> bool {
    matches!(why, Why::Reuse | Why::CodeReuse)
}

impl Report {
    /// How many verdicts are like this.
    pub fn count(&self, like: impl Fn(&Verdict) -> bool) -> usize {
        self.findings.iter().filter(|finding| like(&finding.verdict)).count()
    }

    /// What must never be found, whatever happened: a silent loss, a grant that was given up while it was good, one that the
    /// provider ended for something that we did, and a loss that is not the lost answer of a crash.
    pub fn faults(&self) -> Vec<&Finding> {
        let harmless = |verdict: &Verdict| {
            matches!(verdict, Verdict::Kept | Verdict::NeverConnected | Verdict::LostAndTold { answer_lost: true, .. })
        };
        self.findings.iter().filter(|finding| !harmless(&finding.verdict)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} integrations: {} kept, {} lost and told, {} lost silently, {} given up, {} revoked by us, {} never connected; \
             {} grants ever ended by reuse, {} good at the provider and held by nobody, at most {} request(s) in flight with \
             one refresh token",
            self.findings.len(),
            self.count(|verdict| *verdict == Verdict::Kept),
            self.count(|verdict| matches!(verdict, Verdict::LostAndTold { .. })),
            self.count(|verdict| matches!(verdict, Verdict::LostSilently(_))),
            self.count(|verdict| matches!(verdict, Verdict::GivenUp(_))),
            self.count(|verdict| matches!(verdict, Verdict::RevokedByUs(_))),
            self.count(|verdict| *verdict == Verdict::NeverConnected),
            self.reused,
            self.unheld,
            self.most_in_flight
        )
    }
}
