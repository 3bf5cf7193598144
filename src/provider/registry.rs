//! Looks up providers: from an object to one that can be used, with discovery, credentials and caches in between.
//!
//! Takes caches of provider objects that watches fill; asks the API server only for the Secrets with clients'
//! credentials, and the providers' issuers for their metadata, each no more than once a minute and once an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::Api;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use url::Url;

use super::catalogue::{CatalogueError, with_preset};
use super::connection::{Connection, Keyed, wants_key};
use super::credentials;
pub use super::credentials::CredentialsError;
use super::discovery::{DiscoveryError, ServerMetadata, discover};
use super::endpoints::{Endpoints, RenderError};
use super::outbound::Outbound;
use super::resolved::{OAuthClient, Provider, ProviderError, Surroundings};
use crate::api::{
    ClusterIntegrationProvider, ConditionType, IntegrationProvider, ProjectIntegration, ProviderKind, ProviderSpec,
    READABLE_LABEL, Reason,
};
use crate::grant::binding::ProviderRef;
use crate::grant::{ClientCredentials, GrantView};
use crate::sensitive::Sensitive;
use crate::tenancy::Tenants;

/// How long a client's credentials are believed without looking again.
const CREDENTIALS_AGE: Duration = Duration::from_mins(1);
/// How long an issuer's metadata is believed.
const METADATA_AGE: Duration = Duration::from_hours(1);
/// How long a failed discovery is not tried again.
const FAILURE_AGE: Duration = Duration::from_secs(10);

/// A cluster provider as the watch delivers it: one that cannot be decoded does not stop the others.
pub type ClusterProviders = Store<DeserializeGuard<ClusterIntegrationProvider>>;
/// A tenant's provider as the watch delivers it.
pub type TenantProviders = Store<DeserializeGuard<IntegrationProvider>>;

/// Providers and their clients' credentials; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    own_namespace: String,
    public_url: Url,
    cluster: ClusterProviders,
    tenants_own: Vec<TenantProviders>,
    tenants: Tenants,
    outbound: Outbound,
    resolved: Mutex<HashMap<String, Resolved>>,
    metadata: Mutex<HashMap<String, (Instant, Arc<ServerMetadata>)>>,
    credentials: Mutex<HashMap<SecretName, Read>>,
}

/// Kind, namespace and name of a provider.
pub type ProviderName = (ProviderKind, Option<String>, String);

/// Namespace and name.
pub type SecretName = (String, String);

/// Credentials, and when they were read; `None` when they are to be read again.
type Read = (Option<Instant>, Arc<ClientCredentials>);

struct Resolved {
    version: String,
    until: Instant,
    result: Result<Arc<Provider>, Arc<LookupError>>,
}

/// A provider that can be used for one integration, with everything that takes.
#[derive(Clone, Debug)]
pub struct Usable {
    /// The provider.
    pub provider: Arc<Provider>,
    /// Its OAuth client.
    pub client: OAuthClient,
    /// The client's credentials.
    pub credentials: Arc<ClientCredentials>,
    /// Its addresses with this integration's parameters.
    pub endpoints: Endpoints,
}

impl Usable {
    /// Digest of what a flow must find unchanged at its end.
    pub fn pin(&self) -> String {
        crate::digest::short_hash(&[&self.provider.pin, &self.credentials.client_id])
    }
}

/// A provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No such object.
    #[error("there is no {kind} named {name}; apply one, or change spec.providerKind", kind = kind_name(*.kind))]
    NotFound {
        /// The kind.
        kind: ProviderKind,
        /// The name.
        name: String,
    },
    /// The object cannot be decoded.
    #[error("provider {name} cannot be read: {error}")]
    Undecodable {
        /// The provider.
        name: String,
        /// The decoder's word.
        error: String,
    },
    /// The cluster provider does not serve this namespace.
    #[error("provider {name} does not serve namespace {namespace} (spec.allowedNamespaces)")]
    NotAllowed {
        /// The provider.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// A tenant's provider lies in a namespace that is no tenant's.
    #[error("provider {name} lies in namespace {namespace}, which belongs to no tenant that is served there")]
    NoTenant {
        /// The provider.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Its preset is unknown or does not fit.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Its description has a mistake.
    #[error(transparent)]
    Description(#[from] ProviderError),
    /// Its issuer is not a URL.
    #[error("oauth2.issuer is not an address: {0}")]
    Issuer(#[from] url::ParseError),
    /// Its issuer's metadata could not be read.
    #[error("the metadata of issuer {issuer} could not be read: {source}")]
    Discovery {
        /// The issuer.
        issuer: String,
        /// Why.
        source: Box<DiscoveryError>,
    },
    /// It has no OAuth client.
    #[error("provider {name} has no oauth2 section")]
    NoOAuth {
        /// The provider.
        name: String,
    },
    /// It takes no API keys.
    #[error("provider {name} takes no API keys (it has no apiKey section); remove spec.apiKey")]
    NoApiKey {
        /// The provider.
        name: String,
    },
    /// Its client's credentials are not to be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A value of the form is missing or does not match.
    #[error("spec.parameters: {0}")]
    Parameters(#[from] RenderError),
    /// The same error as before, from the cache.
    #[error("{0}")]
    Cached(Arc<LookupError>),
}

impl LookupError {
    /// The reason that conditions and metrics carry.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } => Reason::ProviderNotFound,
            Self::NotAllowed { .. } => Reason::ProviderNotAllowed,
            Self::NoTenant { .. } => Reason::TenantMismatch,
            Self::Parameters(_)
            | Self::Catalogue(_)
            | Self::Description(_)
            | Self::Issuer(_)
            | Self::Undecodable { .. }
            | Self::NoOAuth { .. }
            | Self::NoApiKey { .. } => Reason::InvalidSpec,
            Self::Discovery { .. } => Reason::DiscoveryFailed,
            Self::Credentials(CredentialsError::PrivateKey { .. }) => Reason::ClientCredentialsInvalid,
            Self::Credentials(_) => Reason::ClientCredentialsMissing,
            Self::Cached(inner) => inner.reason(),
        }
    }

    /// Whether it is the provider's description that has to be mended, and not what uses it.
    pub fn is_of_description(&self) -> bool {
        match self {
            Self::Catalogue(_)
            | Self::Description(_)
            | Self::Issuer(_)
            | Self::Undecodable { .. }
            | Self::NoOAuth { .. }
            | Self::NoApiKey { .. } => true,
            Self::Cached(inner) => inner.is_of_description(),
            _ => false,
        }
    }

    /// Whether it may pass without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Discovery { .. } | Self::Credentials(CredentialsError::Api { .. }) => true,
            Self::Cached(inner) => inner.is_transient(),
            _ => false,
        }
    }
}

fn kind_name(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::ClusterIntegrationProvider => "ClusterIntegrationProvider",
        ProviderKind::IntegrationProvider => "IntegrationProvider",
    }
}

/// What a registry is made of.
pub struct Parts {
    /// Reads Secrets.
    pub client: kube::Client,
    /// The operator's namespace.
    pub own_namespace: String,
    /// The operator's public address.
    pub public_url: Url,
    /// Cluster providers.
    pub cluster: ClusterProviders,
    /// Tenants' own providers, one cache for each watched place.
    pub tenants_own: Vec<TenantProviders>,
    /// Tenants.
    pub tenants: Tenants,
    /// Requests to issuers.
    pub outbound: Outbound,
}

/// A cluster provider as a catalogue shows it.
#[derive(Clone, Debug)]
pub struct ListedProvider {
    /// Its name.
    pub name: String,
    /// Whether it can be connected to, as its status has it.
    pub ready: bool,
    /// The description, with its preset underneath.
    pub spec: ProviderSpec,
}

impl Registry {
    /// Puts a registry together.
    pub fn new(parts: Parts) -> Self {
        let Parts { client, own_namespace, public_url, cluster, tenants_own, tenants, outbound } = parts;
        Self {
            inner: Arc::new(Inner {
                client,
                own_namespace,
                public_url,
                cluster,
                tenants_own,
                tenants,
                outbound,
                resolved: Mutex::default(),
                metadata: Mutex::default(),
                credentials: Mutex::default(),
            }),
        }
    }

    /// The provider of a kind and name; `namespace` is that of a tenant's own provider.
    pub async fn find(&self, kind: ProviderKind, namespace: &str, name: &str) -> Result<Arc<Provider>, LookupError> {
        let (metadata, spec) = self.object(kind, namespace, name)?;
        self.resolve(kind, &metadata, spec.as_ref()).await
    }

    /// Everything that `integration`, for which `grant` is held, needs of its provider.
    pub async fn connection(
        &self,
        integration: &ProjectIntegration,
        grant: Option<&GrantView>,
    ) -> Result<Connection, LookupError> {
        let namespace = integration.metadata.namespace.as_deref().unwrap_or_default();
        let spec = &integration.spec;
        let provider = self.find(spec.provider_kind, namespace, &spec.type_).await?;
        if wants_key(integration, &provider, grant) {
            let keyed = self.keyed_with(provider, namespace, &spec.parameters)?;
            return Ok(Connection::ApiKey(Box::new(keyed)));
        }
        let usable = self.usable_with(provider, namespace, &spec.parameters).await?;
        Ok(Connection::OAuth(Box::new(usable)))
    }

    /// What an integration in `namespace` needs to use an API key.
    pub fn keyed_with(
        &self,
        provider: Arc<Provider>,
        namespace: &str,
        parameters: &std::collections::BTreeMap<String, String>,
    ) -> Result<Keyed, LookupError> {
        self.allowed(&provider, namespace)?;
        Keyed::render(provider, parameters)
    }

    /// What an integration in `namespace` needs to use OAuth.
    pub async fn usable_with(
        &self,
        provider: Arc<Provider>,
        namespace: &str,
        parameters: &std::collections::BTreeMap<String, String>,
    ) -> Result<Usable, LookupError> {
        self.allowed(&provider, namespace)?;
        let no_oauth = || LookupError::NoOAuth { name: provider.reference.name.clone() };
        let client = provider.oauth.clone().ok_or_else(no_oauth)?;
        let credentials = self.credentials(&provider).await?;
        let endpoints = Endpoints::render(&provider, &client, &credentials.client_id, parameters)?;
        Ok(Usable { provider, client, credentials, endpoints })
    }

    /// Whether the provider serves a namespace.
    fn allowed(&self, provider: &Provider, namespace: &str) -> Result<(), LookupError> {
        match &provider.allowed_namespaces {
            Some(selector) if !selects(selector, &self.inner.tenants.labels_of(namespace)) => {
                let name = provider.reference.name.clone();
                Err(LookupError::NotAllowed { name, namespace: namespace.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The credentials of a provider's client, not older than a minute.
    pub async fn credentials(&self, provider: &Provider) -> Result<Arc<ClientCredentials>, CredentialsError> {
        let (namespace, name) = self.referenced(provider)?;
        let client = provider.oauth.as_ref();
        let key = (namespace.clone(), name.clone());
        if let Some((at, credentials)) = lock(&self.inner.credentials).get(&key)
            && at.is_some_and(|at| at.elapsed() < CREDENTIALS_AGE)
        {
            // Another provider may have read them, whose client needs less.
            credentials::check(credentials, &namespace, &name, client)?;
            return Ok(Arc::clone(credentials));
        }
        let secrets: Api<Secret> = Api::namespaced(self.inner.client.clone(), &namespace);
        let secret = secrets
            .get_opt(&name)
            .await
            .map_err(|source| CredentialsError::Api {
                namespace: namespace.clone(),
                name: name.clone(),
                source: Box::new(source),
            })?
            .ok_or_else(|| CredentialsError::Missing {
                namespace: namespace.clone(),
                name: name.clone(),
                secret: credentials::needed(client).unwrap_or("client_secret"),
            })?;
        if provider.reference.namespace.is_some() && !is_readable(&secret.metadata) {
            return Err(CredentialsError::NotReadable { namespace, name });
        }
        let read = credentials::read(&secret).ok_or_else(|| CredentialsError::Key {
            namespace: namespace.clone(),
            name: name.clone(),
            key: "client_id",
        })?;
        credentials::check(&read, &namespace, &name, client)?;
        let mut known = lock(&self.inner.credentials);
        // Those that have not changed keep what is known of which secret works.
        let credentials = match known.remove(&key) {
            Some((_, before)) if *before == read => before,
            _ => Arc::new(read),
        };
        known.insert(key, (Some(Instant::now()), Arc::clone(&credentials)));
        Ok(credentials)
    }

    /// Namespace and name of the Secret with a provider's client.
    pub fn client_secret(&self, provider: &Provider) -> Option<SecretName> {
        let namespace = provider.reference.namespace.clone().unwrap_or_else(|| self.inner.own_namespace.clone());
        Some((namespace, provider.client_secret_name.clone()?))
    }

    /// The same for a provider that needs one.
    fn referenced(&self, provider: &Provider) -> Result<SecretName, CredentialsError> {
        let missing = || CredentialsError::NoReference { provider: provider.reference.name.clone() };
        self.client_secret(provider).ok_or_else(missing)
    }

    /// A further value of the Secret with a provider's client, such as a bot's token. Read each time: it is seldom wanted, and
    /// is kept nowhere.
    pub async fn application_credential(&self, provider: &Provider, key: &str) -> Result<Sensitive, CredentialsError> {
        let (namespace, name) = self.referenced(provider)?;
        let secrets: Api<Secret> = Api::namespaced(self.inner.client.clone(), &namespace);
        let failed = |source| CredentialsError::Api {
            namespace: namespace.clone(),
            name: name.clone(),
            source: Box::new(source),
        };
        let secret = secrets.get_opt(&name).await.map_err(failed)?;
        let value = secret.and_then(|secret| credentials::value(&secret, key));
        value.map(Sensitive::new).ok_or_else(|| CredentialsError::Further { namespace, name, key: key.to_owned() })
    }

    /// Looks at the Secret again next time: the provider refused these credentials.
    pub fn forget_credentials(&self, provider: &Provider) {
        if let Some(secret) = self.client_secret(provider)
            && let Some((at, _)) = lock(&self.inner.credentials).get_mut(&secret)
        {
            *at = None;
        }
    }

    /// Every provider with the version of its description, to see which have changed, come or gone.
    pub fn versions(&self) -> HashMap<ProviderName, String> {
        fn entry<K: kube::Resource>(object: &K, kind: ProviderKind) -> (ProviderName, String) {
            let metadata = object.meta();
            let name = metadata.name.clone().unwrap_or_default();
            let version = format!("{:?} {:?}", metadata.uid, metadata.generation);
            ((kind, metadata.namespace.clone(), name), version)
        }
        let cluster = self.inner.cluster.state();
        let cluster = cluster.iter().map(|object| entry(&**object, ProviderKind::ClusterIntegrationProvider));
        let own = self.inner.tenants_own.iter().flat_map(Store::state);
        cluster.chain(own.map(|object| entry(&*object, ProviderKind::IntegrationProvider))).collect()
    }

    /// Every cluster provider with its preset underneath, by name, for a catalogue that people choose from.
    pub fn cluster_providers(&self) -> Vec<ListedProvider> {
        let cluster = self.inner.cluster.state();
        let readable = cluster.iter().filter_map(|provider| provider.0.as_ref().ok());
        let mut providers: Vec<_> = readable
            .filter_map(|provider| {
                let spec = with_preset(&provider.spec.description).ok()?;
                let conditions = provider.status.iter().flat_map(|status| &status.conditions);
                let ready =
                    conditions.filter(|one| one.type_ == ConditionType::Ready.as_str()).any(|one| one.status == "True");
                Some(ListedProvider { name: provider.metadata.name.clone()?, ready, spec })
            })
            .collect();
        providers.sort_by(|left, right| left.name.cmp(&right.name));
        providers
    }

    fn object(
        &self,
        kind: ProviderKind,
        namespace: &str,
        name: &str,
    ) -> Result<(ObjectMeta, Box<ProviderSpec>), LookupError> {
        let missing = || LookupError::NotFound { kind, name: name.to_owned() };
        let broken = |error: &kube::core::error_boundary::InvalidObject| LookupError::Undecodable {
            name: name.to_owned(),
            error: error.error.clone(),
        };
        match kind {
            ProviderKind::ClusterIntegrationProvider => {
                let object = self.inner.cluster.get(&ObjectRef::new(name)).ok_or_else(missing)?;
                let object = object.0.as_ref().map_err(broken)?;
                Ok((object.metadata.clone(), Box::new(object.spec.description.clone())))
            }
            ProviderKind::IntegrationProvider => {
                let reference = ObjectRef::new(name).within(namespace);
                let object =
                    self.inner.tenants_own.iter().find_map(|store| store.get(&reference)).ok_or_else(missing)?;
                let object = object.0.as_ref().map_err(broken)?;
                Ok((object.metadata.clone(), Box::new(object.spec.description.clone())))
            }
        }
    }

    /// Checks, discovers and parses, or answers from the cache where the object has not changed.
    pub async fn resolve(
        &self,
        kind: ProviderKind,
        metadata: &ObjectMeta,
        spec: &ProviderSpec,
    ) -> Result<Arc<Provider>, LookupError> {
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata.namespace.clone();
        let tenant = namespace.as_deref().and_then(|namespace| self.inner.tenants.tenant_of(namespace));
        let uid = metadata.uid.clone().unwrap_or_default();
        let version = format!("{} {:?}", metadata.generation.unwrap_or_default(), tenant);
        if let Some(cached) = lock(&self.inner.resolved).get(&uid)
            && cached.version == version
            && cached.until > Instant::now()
        {
            return cached.result.clone().map_err(LookupError::Cached);
        }
        let reference = ProviderRef { kind, namespace, name, uid: uid.clone() };
        let result = self.resolve_anew(reference, spec, tenant.as_deref()).await.map(Arc::new).map_err(Arc::new);
        let age = match &result {
            Err(error) if error.is_transient() => FAILURE_AGE,
            _ => METADATA_AGE,
        };
        let entry = Resolved { version, until: Instant::now() + age, result: result.clone() };
        lock(&self.inner.resolved).insert(uid, entry);
        result.map_err(LookupError::Cached)
    }

    async fn resolve_anew(
        &self,
        reference: ProviderRef,
        spec: &ProviderSpec,
        tenant: Option<&str>,
    ) -> Result<Provider, LookupError> {
        if let (Some(namespace), None) = (&reference.namespace, tenant) {
            return Err(LookupError::NoTenant { name: reference.name, namespace: namespace.clone() });
        }
        let spec = with_preset(spec)?;
        let discovered = match spec.oauth2.as_ref().and_then(|oauth| oauth.issuer.as_deref()) {
            Some(issuer) if needs_discovery(&spec) => Some(self.metadata(issuer, &spec).await?),
            _ => None,
        };
        let around =
            Surroundings { reference, discovered: discovered.as_deref(), public_url: &self.inner.public_url, tenant };
        Ok(Provider::resolve(&spec, &around)?)
    }

    async fn metadata(&self, issuer: &str, spec: &ProviderSpec) -> Result<Arc<ServerMetadata>, LookupError> {
        if let Some((at, metadata)) = lock(&self.inner.metadata).get(issuer)
            && at.elapsed() < METADATA_AGE
        {
            return Ok(Arc::clone(metadata));
        }
        let url = Url::parse(issuer)?;
        let private = spec.allowed_private_cidrs.iter().filter_map(|text| text.parse().ok()).collect();
        let metadata = discover(&self.inner.outbound, &url, private)
            .await
            .map_err(|source| LookupError::Discovery { issuer: issuer.to_owned(), source: Box::new(source) })?;
        let metadata = Arc::new(metadata);
        lock(&self.inner.metadata).insert(issuer.to_owned(), (Instant::now(), Arc::clone(&metadata)));
        Ok(metadata)
    }
}

/// Discovery is skipped where the description already has both endpoints of the flow.
fn needs_discovery(spec: &ProviderSpec) -> bool {
    spec.oauth2.as_ref().is_some_and(|oauth| oauth.authorization_url.is_none() || oauth.token_url.is_none())
}

/// Whether a Secret of a tenant is labelled as one that the operator may read.
pub fn is_readable(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(READABLE_LABEL)).is_some_and(|value| value == "true")
}

/// Whether a label selector selects these labels (`matchLabels` and `matchExpressions`).
pub fn selects(selector: &LabelSelector, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let by_labels = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let by_expressions = selector.match_expressions.iter().flatten().all(|requirement| {
        let value = labels.get(&requirement.key);
        let listed = || value.is_some_and(|value| requirement.values.iter().flatten().any(|other| other == value));
        match requirement.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    by_labels && by_expressions
}

/// A poisoned lock only means that another thread panicked between two inserts; the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
