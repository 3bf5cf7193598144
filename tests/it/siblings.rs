//! Several projects that hold the same upstream installation: what is revoked for one must not end the others, and what
//! ends the others upstream must be noticed.

use std::time::Duration;

use integration_operator::api::ProjectIntegration;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use crate::connect::description;
use crate::sandbox::{Consent, Endpoint, RevocationEffect, Rotation, Sandbox, SandboxOptions, Why};
use crate::servers::browser::Browser;
use crate::world::{World, condition, eventually, eventually_within, is_ready, last_refreshed, now};

/// What a second authorization of the same workspace does to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Independent,
    SameToken,
    ReplacesEarlier,
}

/// One combination: an app, and its name as a type.
struct App<'a> {
    world: &'a World,
    /// Callers of the tenants, by tenant.
    tokens: &'a [(&'static str, String)],
    sandbox: Sandbox,
    type_: String,
    effect: RevocationEffect,
    again: Again,
}

/// Three projects of one workspace, of two tenants, in the order in which they connect.
const PROJECTS: [(&str, &str); 3] = [("acme", "web"), ("globex", "ops"), ("acme", "shop")];

#[tokio::test(flavor = "multi_thread")]
async fn one_leaves_and_the_others_go_on() {
    let Some(world) = World::start("one_leaves_and_the_others_go_on").await else { return };
    let mut tokens = vec![];
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).await;
        tokens.push((tenant, world.admin_of(tenant).await));
    }
    let mut apps = vec![];
    for effect in [RevocationEffect::Token, RevocationEffect::Grant, RevocationEffect::Installation] {
        for again in [Again::Independent, Again::SameToken, Again::ReplacesEarlier] {
            apps.push(App::new(&world, &tokens, effect, again, true).await);
        }
    }
    let unrefreshable = App::new(&world, &tokens, RevocationEffect::Grant, Again::ReplacesEarlier, false).await;
    let together = App::new(&world, &tokens, RevocationEffect::Installation, Again::Independent, true).await;
    let _operator = world.operator().await;
    let all = futures::future::join_all(apps.iter().map(App::come_and_go));
    tokio::join!(all, unrefreshable.end_without_a_refresh_token(), together.all_at_once());
}

impl<'a> App<'a> {
    async fn new(
        world: &'a World,
        tokens: &'a [(&'static str, String)],
        effect: RevocationEffect,
        again: Again,
        refreshable: bool,
    ) -> Self {
        let sandbox = Sandbox::start(SandboxOptions {
            consent: Consent::Allow(None),
            revocation_effect: effect,
            replaces_earlier: again == Again::ReplacesEarlier,
            same_token: again == Again::SameToken,
            // Two that hold the same refresh token can both use it only where it stays.
            rotation: if again == Again::SameToken { Rotation::None } else { Rotation::Strict },
            access_token_lifetime: refreshable.then_some(3600),
            ..SandboxOptions::default()
        });
        let type_ = format!("app-{}", sandbox.address.port());
        let mut spec = description(&sandbox.base_url);
        spec["oauth2"]["revocationEffect"] = json!(format!("{effect:?}"));
        spec["oauth2"]["reauthorization"] = json!(format!("{again:?}"));
        if again == Again::SameToken {
            spec["oauth2"]["refresh"] = json!({ "rotation": "None" });
        }
        world.provider(&type_, "sandbox-client", "sandbox-secret", spec).await;
        Self { world, tokens, sandbox, type_, effect, again }
    }

    fn name(&self, project: &str) -> String {
        format!("{project}.{}", self.type_)
    }

    async fn connect(&self, (tenant, project): (&str, &str)) -> ProjectIntegration {
        let token = &self.tokens.iter().find(|(name, _)| *name == tenant).unwrap().1;
        if self.world.integrations(tenant).get_opt(&self.name(project)).await.unwrap().is_none() {
            // Nothing that is noticed within seconds is noticed by the regular check.
            self.world.create(tenant, project, &self.type_, json!({ "healthCheck": { "interval": "1h" } })).await;
        }
        let landed = self.world.connect_as(&mut Browser::as_user("ada"), token, tenant, project, &self.type_).await;
        assert!(landed.contains("status=success") || landed.contains("status=pending"), "{landed}");
        self.world
            .wait(tenant, &self.name(project), "connected and healthy", |found| {
                is_ready(found) && condition(found, "Healthy").1 == "Verified"
            })
            .await
    }

    /// Whether what is published works at the app.
    async fn works(&self, (tenant, project): (&str, &str)) -> bool {
        let Some(secret) = self.world.secret(tenant, &self.name(project)).await else { return false };
        let url = format!("{}/userinfo", self.sandbox.base_url);
        self.world.http.get(url).bearer_auth(&secret["access_token"]).send().await.unwrap().status() == 200
    }

    async fn refresh(&self, (tenant, project): (&str, &str)) {
        let name = self.name(project);
        let before = last_refreshed(&self.world.integrations(tenant).get(&name).await.unwrap());
        self.world.annotate(tenant, &name, "integrations.tms.dev/refresh-requested-at", &later().await).await;
        let refreshed = |found: &ProjectIntegration| last_refreshed(found) != before && is_ready(found);
        self.world.wait(tenant, &name, "refreshed", refreshed).await;
    }

    async fn disconnect(&self, (tenant, project): (&str, &str)) {
        let name = self.name(project);
        self.world.annotate(tenant, &name, "integrations.tms.dev/disconnect-requested-at", &later().await).await;
        self.world.wait_reason(tenant, &name, "Authorized", "AuthorizationRequired").await;
        assert!(self.world.grant(tenant, &name).await.is_none(), "{name} is forgotten");
    }

    async fn delete(&self, (tenant, project): (&str, &str)) {
        let name = self.name(project);
        self.world.integrations(tenant).delete(&name, &DeleteParams::default()).await.unwrap();
        self.world.wait_gone(tenant, &name).await;
    }

    /// How many revocations have reached the app.
    fn revocations(&self) -> usize {
        self.sandbox.ledger().of(Endpoint::Revoke).count()
    }

    /// Whether an Event with this reason was published for an integration; none may name anybody else.
    async fn told(&self, (tenant, project): (&str, &str), reason: &str) -> bool {
        let events: Api<Event> = Api::namespaced(self.world.client.clone(), tenant);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let name = self.name(project);
        let own = |event: &&Event| event.regarding.as_ref().and_then(|about| about.name.as_ref()) == Some(&name);
        let own: Vec<_> = events.iter().filter(own).collect();
        for note in own.iter().filter_map(|event| event.note.as_ref()) {
            self.assert_names_nobody_else(note, project);
        }
        own.iter().any(|event| event.reason.as_deref() == Some(reason))
    }

    fn assert_names_nobody_else(&self, text: &str, project: &str) {
        for (_, other) in PROJECTS.iter().filter(|(_, other)| *other != project) {
            assert!(!text.contains(&self.name(other)), "{text}");
        }
        assert!(!text.contains("acme") && !text.contains("globex"), "{text}");
    }

    async fn come_and_go(&self) {
        let [first, second, third] = PROJECTS;
        self.connect(first).await;
        self.connect(second).await;
        if self.again == Again::ReplacesEarlier {
            self.is_replaced(first).await;
        }
        self.connect(third).await;
        if self.again == Again::ReplacesEarlier {
            self.is_replaced(second).await;
        } else {
            assert!(self.works(first).await && self.works(second).await, "{self:?}: all three work");
        }

        // The first is disconnected, the second deleted. The third goes on, every time.
        let harmless = self.effect == RevocationEffect::Token && self.again == Again::Independent;
        for (left, (leaving, deletes)) in [(first, false), (second, true)].into_iter().enumerate() {
            let before = self.revocations();
            if deletes {
                self.delete(leaving).await;
            } else {
                self.disconnect(leaving).await;
            }
            if self.again == Again::ReplacesEarlier {
                assert_eq!(self.revocations(), before, "{self:?}: what is dead need not be revoked");
            } else if harmless {
                assert_eq!(self.revocations(), before + 1, "{self:?}");
                assert!(self.told(leaving, "Revoked").await, "{self:?}");
            } else {
                assert_eq!(self.revocations(), before, "{self:?}");
                assert!(self.told(leaving, "RevocationSkippedShared").await, "{self:?}");
            }
            for goes_on in &PROJECTS[left + 1..] {
                if self.again == Again::ReplacesEarlier && *goes_on != third {
                    continue;
                }
                assert!(self.works(*goes_on).await, "{self:?}: {goes_on:?} goes on");
                self.refresh(*goes_on).await;
                assert!(self.works(*goes_on).await, "{self:?}: {goes_on:?} is refreshed");
            }
        }

        // The last one revokes.
        let published = self.world.secret(third.0, &self.name(third.1)).await.unwrap();
        let grant = self.sandbox.grant_of(&published["access_token"]).unwrap();
        self.delete(third).await;
        assert_eq!(self.sandbox.grant(grant).unwrap().ended.map(|end| end.why), Some(Why::Revoked), "{self:?}");
        assert!(self.told(third, "Revoked").await, "{self:?}");

        // Alone again, a disconnect revokes too. Connecting anew, alone, revokes what can do no harm.
        self.connect(first).await;
        self.connect(first).await;
        assert!(self.works(first).await, "{self:?}: connected twice");
        let published = self.world.secret(first.0, &self.name(first.1)).await.unwrap();
        let grant = self.sandbox.grant_of(&published["access_token"]).unwrap();
        self.disconnect(first).await;
        assert_eq!(self.sandbox.grant(grant).unwrap().ended.map(|end| end.why), Some(Why::Revoked), "{self:?}");
    }

    /// That a later authorization has ended this one is noticed at once, and why is told.
    async fn is_replaced(&self, (tenant, project): (&str, &str)) {
        let name = self.name(project);
        let api = self.world.integrations(tenant);
        let ended = async || condition(&api.get(&name).await.unwrap(), "Authorized").1 == "ReauthorizationRequired";
        eventually_within(Duration::from_secs(15), "the earlier one is known to have ended", ended).await;
        let found = api.get(&name).await.unwrap();
        let conditions = found.status.as_ref().unwrap().conditions.clone();
        let message = |type_: &str| {
            let found = conditions.iter().find(|condition| condition.type_ == type_).unwrap();
            self.assert_names_nobody_else(&found.message, project);
            found.message.clone()
        };
        let said = "A later authorization of the same installation ended this one; connect again.";
        assert_eq!(message("Authorized"), said);
        assert_eq!(message("Ready"), said);
        assert!(message("Healthy").contains("a later authorization of the same installation"), "{conditions:?}");
        assert_eq!(condition(&found, "Healthy"), ("False".into(), "Rejected".into()));
        assert_eq!(condition(&found, "TokenFresh").0, "False");
    }

    /// Without a refresh token, the answer to the access token decides.
    async fn end_without_a_refresh_token(&self) {
        let [first, second, _] = PROJECTS;
        self.connect(first).await;
        self.connect(second).await;
        self.is_replaced(first).await;
        assert_eq!(self.sandbox.ledger().token_requests("refresh_token"), 0);
        // The dead one is nobody: the living one revokes.
        self.delete(second).await;
        assert_eq!(self.revocations(), 1);
        // And it can be connected again.
        self.connect(first).await;
        assert!(self.works(first).await);
    }

    /// All leave at the same time: at least one of them revokes, or they would all count on each other.
    async fn all_at_once(&self) {
        for deletes in [false, true, false, true] {
            for project in PROJECTS {
                self.connect(project).await;
            }
            let published = self.world.secret("acme", &self.name("web")).await.unwrap();
            let grant = self.sandbox.grant_of(&published["access_token"]).unwrap();
            let leave = PROJECTS.map(|project| async move {
                if deletes { self.delete(project).await } else { self.disconnect(project).await }
            });
            futures::future::join_all(leave).await;
            let ended = async || self.sandbox.grant(grant).unwrap().ended.is_some();
            eventually("the installation is revoked", ended).await;
        }
    }
}

impl std::fmt::Debug for App<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} and {:?}", self.effect, self.again)
    }
}

/// A moment that is later, by whole seconds, than whatever was done before.
async fn later() -> String {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    now()
}
