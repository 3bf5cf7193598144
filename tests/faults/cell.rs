//! One cell of the matrix: an operation, one request of it that goes wrong in one way, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::proxy::{Fault, Proxy, Seen, Trap};
use crate::sandbox::{GrantRecord, Why};
use crate::stage::{Profile, Stage, TENANT};
use crate::world::{OPERATOR, condition, is_ready};
use integration_operator::grant::store::grant_name;

const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";
const DISCONNECT: &str = "integrations.tms.dev/disconnect-requested-at";
/// How long an end may take: a stalled answer is waited for half a minute, twice at most.
const PATIENCE: Duration = Duration::from_secs(100);
/// How long a person who sees an error waits before they begin again.
const BEGIN_AGAIN: Duration = Duration::from_secs(3);
/// The same where they were told to wait: an exchange takes half a minute at most.
const PENDING: Duration = Duration::from_secs(40);
/// The same where the process has died, and nothing goes on that one could wait for.
const BEGIN_AGAIN_AFTER_DEATH: Duration = Duration::from_millis(500);

/// What is done when something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Connect,
    Refresh,
    Reconnect,
    Disconnect,
    Delete,
}

impl Operation {
    pub const ALL: [Self; 5] = [Self::Connect, Self::Refresh, Self::Reconnect, Self::Disconnect, Self::Delete];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Reconnect => "reconnect",
            Self::Disconnect => "disconnect",
            Self::Delete => "delete",
        }
    }
}

/// Which request goes wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spoilt {
    /// The app's, or the API server's.
    pub by_app: bool,
    pub request: String,
    pub occurrence: usize,
    pub fault: Fault,
}

/// A cell; without a fault it is the reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    pub operation: Operation,
    pub profile: Profile,
    pub spoilt: Option<Spoilt>,
}

/// What came of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The newest tokens that the provider gave are held, published and work.
    Kept,
    /// The same, after the person has begun again.
    KeptAgain,
    /// Lost, and the condition says so.
    Told,
    /// Revoked at the provider and forgotten.
    Revoked,
    /// Forgotten, but the provider still holds it good; an Event says so.
    Forgotten,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::KeptAgain => "kept (begun again)",
            Self::Told => "lost, said",
            Self::Revoked => "revoked",
            Self::Forgotten => "forgotten, said",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} [{}]", self.operation.name(), self.profile.name())?;
        if let Some(Spoilt { request, occurrence, fault, .. }) = &self.spoilt {
            write!(formatter, " {request} #{occurrence} {}", fault.name())?;
        }
        Ok(())
    }
}

/// A cell that was played.
#[derive(Clone, Debug)]
pub struct Played {
    pub outcome: Result<Outcome, String>,
    /// Requests to the API server and to the app, in order, up to the end of the operation.
    pub api: Vec<Seen>,
    pub app: Vec<Seen>,
    /// Objects created and deleted, as the API server has carried it out.
    pub objects: BTreeMap<String, usize>,
    /// Whether the fault met its request.
    pub met: bool,
    /// A grant was ended by the use of a rotated refresh token.
    pub reuse: bool,
    /// Grants that the provider holds good and nobody here knows.
    pub unheld: usize,
    pub took: Duration,
}

/// Plays a cell, with a project of its own.
pub async fn play(stage: &mut Stage, cell: &Cell, number: usize) -> Played {
    let project = format!("c{number}");
    let began = Instant::now();
    stage.account(cell.profile, &project);
    let mut run = Run { project: project.clone(), cell, before: 0, asked: String::new(), again: false, seen: None };
    let outcome = run.carry_out(stage).await;
    let app = &stage.apps[&cell.profile];
    let records = run.records(stage);
    let (api_seen, app_seen) = run.seen.take().unwrap_or_else(|| (stage.api.seen(), app.proxy.seen()));
    let held = run.held(stage).await;
    let live = records.iter().filter(|record| record.ended.is_none());
    let unheld =
        live.filter(|record| held.as_ref() != app.sandbox.current_refresh_token(record.grant).as_ref()).count();
    let played = Played {
        outcome,
        objects: objects(&api_seen),
        api: api_seen,
        app: app_seen,
        met: stage.api.is_sprung() && app.proxy.is_sprung(),
        reuse: records.iter().any(|record| record.ended.is_some_and(|ending| ending.why == Why::Reuse)),
        unheld,
        took: began.elapsed(),
    };
    stage.api.reset();
    app.proxy.reset();
    app.proxy.reopen().await;
    run.clear(stage).await;
    played
}

/// What was created and deleted.
fn objects(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut objects = BTreeMap::new();
    let changes = seen.iter().filter(|seen| {
        let counts = seen.request.starts_with("create ") || seen.request.starts_with("delete ");
        let many = seen.request.contains(" event") || seen.request.contains(" all ");
        counts && !many && seen.status.is_some_and(|status| status < 300)
    });
    for seen in changes {
        *objects.entry(seen.request.clone()).or_default() += 1;
    }
    objects
}

struct Run<'a> {
    project: String,
    cell: &'a Cell,
    /// Generation, before the operation.
    before: u64,
    /// The value of the request.
    asked: String,
    again: bool,
    /// What was seen up to the end of the operation.
    seen: Option<(Vec<Seen>, Vec<Seen>)>,
}

impl Run<'_> {
    fn name(&self) -> String {
        format!("{}.{}", self.project, self.type_())
    }

    fn type_(&self) -> &'static str {
        self.cell.profile.name()
    }

    async fn carry_out(&mut self, stage: &mut Stage) -> Result<Outcome, String> {
        let name = self.name();
        if self.cell.operation != Operation::Connect {
            stage.connect(&self.project, self.type_()).await?;
            self.until(stage, "connected", async |run, stage| run.is_whole(stage, 1, 1).await).await?;
            stage.quiet().await;
            self.before = 1;
        }
        stage.api.reset();
        let proxy = &stage.apps[&self.cell.profile].proxy;
        proxy.reset();
        if let Some(spoilt) = &self.cell.spoilt {
            let trap = Trap { request: spoilt.request.clone(), occurrence: spoilt.occurrence, fault: spoilt.fault };
            if spoilt.by_app { proxy.lay(trap) } else { stage.api.lay(trap) }
        }
        if self.cell.operation == Operation::Disconnect {
            // It must be later than the installation beyond doubt, and times may have seconds only.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        self.asked = crate::world::now();
        let mut landed = Ok(String::new());
        match self.cell.operation {
            Operation::Connect | Operation::Reconnect => landed = stage.connect(&self.project, self.type_()).await,
            Operation::Refresh => stage.world.annotate(TENANT, &name, REFRESH, &self.asked).await,
            Operation::Disconnect => stage.world.annotate(TENANT, &name, DISCONNECT, &self.asked).await,
            Operation::Delete => {
                stage.world.integrations(TENANT).delete(&name, &DeleteParams::default()).await.unwrap();
            }
        }
        self.after_the_fault(stage).await;
        match self.cell.operation {
            Operation::Connect | Operation::Reconnect => self.connected(stage, landed).await,
            Operation::Refresh => self.refreshed(stage).await,
            Operation::Disconnect | Operation::Delete => self.gone(stage).await,
        }
    }

    /// Waits for a fault that kills or refuses, raises the process again, and lets the app be reached again.
    async fn after_the_fault(&self, stage: &mut Stage) {
        let Some(spoilt) = &self.cell.spoilt else { return };
        if !spoilt.fault.kills() && spoilt.fault != Fault::Refused {
            return;
        }
        let began = Instant::now();
        let sprung = |stage: &Stage| proxy(stage, self.cell.profile, spoilt.by_app).is_sprung();
        while !sprung(stage) && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if spoilt.fault.kills() {
            stage.raise().await;
        } else {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            proxy(stage, self.cell.profile, spoilt.by_app).reopen().await;
        }
    }

    async fn connected(&mut self, stage: &mut Stage, mut landed: Result<String, String>) -> Result<Outcome, String> {
        let epoch = if self.cell.operation == Operation::Reconnect { 2 } else { 1 };
        let killed = self.cell.spoilt.as_ref().is_some_and(|spoilt| spoilt.fault.kills());
        let wait = if killed { BEGIN_AGAIN_AFTER_DEATH } else { BEGIN_AGAIN };
        let began = Instant::now();
        while !self.is_whole(stage, epoch, 1).await {
            let unanswered = began.elapsed() > PENDING;
            if (landed.is_err() && began.elapsed() > wait || unanswered) && !self.again {
                if epoch == 2 && !self.holds_good(stage).await {
                    return Err(format!("the earlier authorization was lost: {}", self.describe(stage).await));
                }
                self.again = true;
                landed = stage.connect(&self.project, self.type_()).await;
                landed.as_ref().map_err(|error| format!("cannot begin again: {error}"))?;
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("not connected ({landed:?}): {}", self.describe(stage).await));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let held = self.grant(stage).await.and_then(|grant| grant["epoch"].as_u64());
        if !self.again && held != Some(epoch) {
            return Err(format!("one authorization counts as several: {}", self.describe(stage).await));
        }
        self.works(stage, epoch).await?;
        Ok(if self.again { Outcome::KeptAgain } else { Outcome::Kept })
    }

    async fn refreshed(&mut self, stage: &mut Stage) -> Result<Outcome, String> {
        let began = Instant::now();
        loop {
            let found = stage.world.integrations(TENANT).get(&self.name()).await.unwrap();
            if condition(&found, "Authorized").1 == "ReauthorizationRequired" {
                return Ok(Outcome::Told);
            }
            let handled =
                found.status.as_ref().is_some_and(|status| status.handled.values().any(|at| *at == self.asked));
            if handled && self.is_whole(stage, 1, self.before + 1).await {
                break;
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("neither refreshed nor lost: {}", self.describe(stage).await));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.works(stage, 1).await?;
        Ok(Outcome::Kept)
    }

    /// What is held can be refreshed once more.
    async fn works(&mut self, stage: &mut Stage, epoch: u64) -> Result<(), String> {
        stage.quiet().await;
        self.seen = Some((stage.api.seen(), stage.apps[&self.cell.profile].proxy.seen()));
        let Some(generation) = self.grant(stage).await.and_then(|grant| grant["generation"].as_u64()) else {
            return Err("the grant went away".to_owned());
        };
        stage.world.annotate(TENANT, &self.name(), REFRESH, &crate::world::now()).await;
        self.until(stage, "refreshed once more", async |run, stage| run.is_whole(stage, epoch, generation + 1).await)
            .await
    }

    async fn gone(&mut self, stage: &mut Stage) -> Result<Outcome, String> {
        let deleted = self.cell.operation == Operation::Delete;
        self.until(stage, "gone", async |run, stage| {
            let found = stage.world.integrations(TENANT).get_opt(&run.name()).await.unwrap();
            let told = match &found {
                None => deleted,
                Some(found) => !deleted && condition(found, "Authorized").1 == "AuthorizationRequired",
            };
            told && run.grant(stage).await.is_none() && stage.world.secret(TENANT, &run.name()).await.is_none()
        })
        .await?;
        let records = self.records(stage);
        let revoked = records.iter().all(|record| record.ended.is_some_and(|ending| ending.why == Why::Revoked));
        Ok(if revoked { Outcome::Revoked } else { Outcome::Forgotten })
    }

    async fn until(&self, stage: &Stage, what: &str, check: impl AsyncFn(&Self, &Stage) -> bool) -> Result<(), String> {
        let began = Instant::now();
        while !check(self, stage).await {
            if began.elapsed() > PATIENCE {
                return Err(format!("not {what}: {}", self.describe(stage).await));
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        Ok(())
    }

    /// Whether this epoch, and at least this generation, is held, is what the provider has last given, is published and told.
    async fn is_whole(&self, stage: &Stage, epoch: u64, generation: u64) -> bool {
        let Some(grant) = self.grant(stage).await else { return false };
        let newer = grant["epoch"].as_u64() >= Some(epoch) && grant["generation"].as_u64() >= Some(generation);
        let (Some(refresh), Some(access)) =
            (grant["tokens"]["refreshToken"].as_str(), grant["tokens"]["accessToken"].as_str())
        else {
            return false;
        };
        if !newer || !self.is_newest(stage, refresh) || self.intends(stage).await {
            return false;
        }
        let published = stage.world.secret(TENANT, &self.name()).await;
        let published = published.and_then(|data| data.get("access_token").cloned());
        let told = stage.world.integrations(TENANT).get_opt(&self.name()).await.unwrap();
        published.as_deref() == Some(access) && told.as_ref().is_some_and(is_ready)
    }

    /// Whether what is held is the newest that the provider gave.
    async fn holds_good(&self, stage: &Stage) -> bool {
        self.held(stage).await.is_some_and(|held| self.is_newest(stage, &held))
    }

    fn is_newest(&self, stage: &Stage, refresh_token: &str) -> bool {
        let sandbox = &stage.apps[&self.cell.profile].sandbox;
        let current = sandbox.grant_of(refresh_token).and_then(|grant| sandbox.current_refresh_token(grant));
        current.as_deref() == Some(refresh_token)
    }

    async fn intends(&self, stage: &Stage) -> bool {
        let grant = stage.world.secrets(OPERATOR).get_opt(&grant_name(TENANT, &self.name())).await.unwrap();
        grant.is_some_and(|grant| {
            grant.metadata.annotations.unwrap_or_default().contains_key("integrations.tms.dev/intent")
        })
    }

    async fn grant(&self, stage: &Stage) -> Option<Value> {
        stage.world.grant(TENANT, &self.name()).await
    }

    async fn held(&self, stage: &Stage) -> Option<String> {
        Some(self.grant(stage).await?["tokens"]["refreshToken"].as_str()?.to_owned())
    }

    /// What the provider has for this cell.
    fn records(&self, stage: &Stage) -> Vec<GrantRecord> {
        let workspace = format!("W-{}", self.project);
        let grants = stage.apps[&self.cell.profile].sandbox.ledger().grants;
        grants.into_iter().filter(|grant| grant.workspace == workspace).collect()
    }

    async fn describe(&self, stage: &Stage) -> String {
        let found = stage.world.integrations(TENANT).get_opt(&self.name()).await.unwrap();
        let conditions: Vec<_> = found
            .iter()
            .flat_map(|found| found.status.iter().flat_map(|status| &status.conditions))
            .map(|condition| {
                format!("{}={}/{}: {}", condition.type_, condition.status, condition.reason, condition.message)
            })
            .collect();
        let grant = self.grant(stage).await.map(|grant| json!([grant["epoch"], grant["generation"]]));
        let intends = self.intends(stage).await;
        let records = self.records(stage);
        format!("grant {grant:?}, intent {intends}, {conditions:#?}, provider {records:?}")
    }

    /// Takes the project away, so that the next cell is alone.
    async fn clear(&self, stage: &mut Stage) {
        let api = stage.world.integrations(TENANT);
        let _ = api.delete(&self.name(), &DeleteParams::default()).await;
        let began = Instant::now();
        while api.get_opt(&self.name()).await.unwrap().is_some() && began.elapsed() < Duration::from_mins(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stage.quiet().await;
    }
}

fn proxy(stage: &Stage, profile: Profile, by_app: bool) -> &Proxy {
    if by_app { &stage.apps[&profile].proxy } else { &stage.api }
}
