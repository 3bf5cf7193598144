//! `import`: rows of the table `project_integrations` become integrations and grants, with no new consent.
//!
//! Each row by itself: the namespace of its tenant, the provider of its type, the integration, the finalizer, the grant, in
//! this order. What is there already stays. Nothing of a row but its names is ever printed.

mod grant;
pub mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::api::{MANAGER, ProjectIntegration, ProjectIntegrationSpec, ProviderKind};
use crate::app::{StartError, client, outbound};
use crate::caches::Caches;
use crate::causes::chain;
use crate::config::{Egress, Import};
use crate::finalizer::{self, FinalizerError};
use crate::flow::signing_key;
use crate::grant::store::{Marks, grant_name};
use crate::grant::{GrantStore, GrantView, Handled, Owner, StoreError};
use crate::provider::registry::{LookupError, Parts, Registry, Usable};
use crate::seal::Sealer;
use crate::shard;
use crate::tenancy::Tenants;
use crate::watching::Place;
use rows::{Numbered, Row, RowError};

/// How long it is waited for the first list of namespaces and providers.
const PATIENCE: Duration = Duration::from_mins(1);

/// The import could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The cluster, or the keys.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The file.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Namespaces or providers were not told.
    #[error(
        "namespaces and providers could not be listed within {} s; the kubeconfig's user needs the rights of the operator itself, see deploy/rbac.yaml",
        PATIENCE.as_secs()
    )]
    Rights,
}

/// A row was not imported.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error("no namespace has the label integrations.tms.dev/tenant={0}; a cluster administrator sets it")]
    Tenant(String),
    #[error("provider {type_}: {source}")]
    Provider { type_: String, source: LookupError },
    #[error("the provider asks for {0}, which meta does not hold")]
    Parameter(String),
    #[error("meta holds no access_token: {0}")]
    Tokens(&'static str),
    #[error("the integration could not be {done}")]
    Integration { done: &'static str, source: Box<kube::Error> },
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
    #[error(transparent)]
    Grant(#[from] StoreError),
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Created,
    Suspended,
    Replaced,
    Exists,
}

impl Done {
    const fn word(self, dry: bool) -> &'static str {
        match (self, dry) {
            (Self::Created, false) => "created",
            (Self::Created, true) => "would be created",
            (Self::Suspended, false) => "created, suspended",
            (Self::Suspended, true) => "would be created, suspended",
            (Self::Replaced, false) => "replaced",
            (Self::Replaced, true) => "would be replaced",
            (Self::Exists, _) => "exists",
        }
    }
}

/// Imports all rows and reports each by `say`; gives how many failed.
pub async fn import(options: Import, say: impl Fn(&str)) -> Result<usize, ImportError> {
    let text = read(&options.file)?;
    let client = client().await?;
    let sealer = Sealer::load(options.sealing.grant_key_file.as_deref()).map_err(StartError::from)?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let caches = Caches::start(&client, &Place::all(&options.watch_namespaces), &tasks, &stop);
    if tokio::time::timeout(PATIENCE, caches.ready()).await.is_err() {
        return Err(ImportError::Rights);
    }
    let import = Importer::new(client, &options, &caches, sealer).await?;
    let (mut failed, mut counts) = (0, BTreeMap::new());
    for Numbered { line, row } in rows::read(&text) {
        let called = row.as_ref().map_or_else(|_| "?".to_owned(), |row| format!("{}/{}", row.tenant, row.name()));
        let outcome = match row {
            Ok(row) => Box::pin(import.one(&row)).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(done) => {
                *counts.entry(done).or_insert(0) += 1;
                say(&format!("line {line}: {called} {}", done.word(options.dry_run)));
            }
            Err(error) => {
                failed += 1;
                say(&format!("line {line}: {called} failed: {}", chain(&error)));
            }
        }
    }
    let counted = counts.iter().map(|(done, count)| format!("{count} {}", done.word(options.dry_run)));
    say(&counted.chain([format!("{failed} failed")]).collect::<Vec<_>>().join(", "));
    stop.cancel();
    Ok(failed)
}

fn read(file: &Path) -> Result<Zeroizing<String>, ImportError> {
    let failed = |source| ImportError::Read { path: file.display().to_string(), source };
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    text.map(Zeroizing::new).map_err(failed)
}

struct Importer {
    client: kube::Client,
    tenants: Tenants,
    registry: Registry,
    grants: GrantStore,
    dry_run: bool,
    replace: bool,
}

impl Importer {
    async fn new(client: kube::Client, options: &Import, caches: &Caches, sealer: Sealer) -> Result<Self, ImportError> {
        let tenants = Tenants::new(caches.namespaces.clone(), &options.namespace);
        let registry = Registry::new(Parts {
            client: client.clone(),
            own_namespace: options.namespace.clone(),
            // Nobody is sent anywhere.
            public_url: options.public_url.clone(),
            cluster: caches.cluster_providers.clone(),
            tenants_own: caches.tenant_providers.clone(),
            tenants: tenants.clone(),
            outbound: outbound(&Egress { provider_requests_per_second: 1, ..options.egress.clone() })?,
        });
        let key = signing_key::load(client.clone(), &options.namespace).await.map_err(StartError::from)?;
        let grants =
            GrantStore::new(client.clone(), &options.namespace).fingerprinting(key.fingerprints()).sealing(sealer);
        Ok(Self { client, tenants, registry, grants, dry_run: options.dry_run, replace: options.replace })
    }

    /// One row. Nothing is written before all of it was found to be good.
    async fn one(&self, row: &Row) -> Result<Done, Trouble> {
        let tenant = || Trouble::Tenant(row.tenant.clone());
        let namespace = self.tenants.namespace_of(&row.tenant).ok_or_else(tenant)?;
        let (kind, usable, parameters) = self.provider(row, &namespace).await?;
        let answer = grant::answer(row)?;
        let name = row.name();
        let api: Api<ProjectIntegration> = Api::namespaced(self.client.clone(), &namespace);
        let failed = |done| move |source| Trouble::Integration { done, source: Box::new(source) };
        let standing = api.get_opt(&name).await.map_err(failed("read"))?;
        let held = self.grants.find(&grant_name(&namespace, &name)).await?;
        if held.is_some() && standing.is_some() && !self.replace {
            return Ok(Done::Exists);
        }
        let done = match (held.is_some(), row.active) {
            (true, _) => Done::Replaced,
            (false, true) => Done::Created,
            (false, false) => Done::Suspended,
        };
        if self.dry_run {
            return Ok(done);
        }
        let integration = if let Some(integration) = standing {
            integration
        } else {
            let how = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            let made = integration(row, kind, &parameters);
            api.create(&how, &made).await.map_err(failed("created"))?
        };
        finalizer::put_on(&self.client, &integration).await?;
        let shard = shard::label_of(integration.metadata.labels.as_ref());
        let owner = Owner { namespace, name, uid: integration.uid().unwrap_or_default() };
        let epoch = held.as_ref().map_or(1, |held| held.view.summary.epoch + 1);
        let grant = grant::grant(row, &owner, &usable, &parameters, &answer, epoch);
        match held {
            None => self.grants.create(&grant, &Handled::default(), shard).await?,
            Some(held) => {
                let marks = Marks { shard: Some(shard), ..anew(&held.view, &owner) };
                self.grants.replace(&held.view, &grant, &marks).await?
            }
        };
        Ok(done)
    }

    /// The provider of that name: the cluster's, else the tenant's own.
    async fn provider(
        &self,
        row: &Row,
        namespace: &str,
    ) -> Result<(ProviderKind, Usable, BTreeMap<String, String>), Trouble> {
        let wrong = |source| Trouble::Provider { type_: row.type_.clone(), source };
        let cluster = ProviderKind::ClusterIntegrationProvider;
        let provider = match self.registry.find(cluster, namespace, &row.type_).await {
            Err(LookupError::NotFound { .. }) => {
                self.registry.find(ProviderKind::IntegrationProvider, namespace, &row.type_).await
            }
            found => found,
        };
        let provider = provider.map_err(wrong)?;
        let parameters = row.values(|name| provider.parameters.contains_key(name));
        if let Some(missing) = provider.parameters.missing(&provider.parameters.values(&[&parameters])) {
            return Err(Trouble::Parameter(missing.to_owned()));
        }
        let kind = provider.reference.kind;
        let usable = self.registry.usable_with(Arc::clone(&provider), namespace, &parameters).await.map_err(wrong)?;
        Ok((kind, usable, parameters))
    }
}

/// Nothing of what is replaced holds any more. The Secret that was published in another life is not ours to write to.
fn anew(before: &GrantView, owner: &Owner) -> Marks {
    let same_life = before.summary.integration.uid == owner.uid;
    Marks {
        intents: Some(vec![]),
        refused: Some(None),
        mismatch: Some(None),
        published: (!same_life).then_some(None),
        orphaned: Some(None),
        leaving: Some(None),
        adopted: true,
        ..Marks::default()
    }
}

fn integration(row: &Row, kind: ProviderKind, parameters: &BTreeMap<String, String>) -> ProjectIntegration {
    ProjectIntegration {
        metadata: ObjectMeta { name: Some(row.name()), ..ObjectMeta::default() },
        spec: ProjectIntegrationSpec {
            tenant_id: row.tenant.clone(),
            project_id: row.project.clone(),
            type_: row.type_.clone(),
            provider_kind: kind,
            parameters: parameters.clone(),
            suspend: !row.active,
            ..ProjectIntegrationSpec::default()
        },
        status: None,
    }
}
