//! The way into the cluster: which one, which namespace, and the objects there.

use integration_operator::api::ProjectIntegration;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DeserializeGuard;
use kube::{Client, Config};

use crate::args;
use crate::failure::Failure;

/// The field manager of everything this tool writes. Not `kubectl-…`: Flux takes over managers of that name.
pub(crate) const FIELD_MANAGER: &str = "integration-cli";

/// A cluster and a namespace in it.
pub(crate) struct Cluster {
    /// The client.
    pub(crate) client: Client,
    /// The namespace that was named, or else the context's.
    pub(crate) namespace: String,
    /// The caller's credentials, for the operator's HTTP API.
    pub(crate) auth: kube::config::AuthInfo,
}

impl Cluster {
    /// Reads the kubeconfig as kubectl does: `--kubeconfig`, then `KUBECONFIG`, then `~/.kube/config`, then the Pod's own.
    pub(crate) async fn open(args: &args::Cluster) -> Result<Self, Failure> {
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let config = match (&args.kubeconfig, &args.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path).map_err(Failure::Kubeconfig)?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(Failure::Kubeconfig)?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(Failure::Kubeconfig)?,
            (None, None) => Config::infer().await.map_err(Failure::Inferred)?,
        };
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let auth = config.auth_info.clone();
        let client = Client::try_from(config).map_err(|error| Failure::api("connect to", "the cluster", error))?;
        Ok(Self { client, namespace, auth })
    }

    /// The integrations of the namespace.
    pub(crate) fn integrations(&self) -> Api<ProjectIntegration> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Those of the namespace or of all, where one that this version cannot read hides none of the others.
    pub(crate) fn guarded(&self, everywhere: bool) -> Api<DeserializeGuard<ProjectIntegration>> {
        if everywhere { Api::all(self.client.clone()) } else { Api::namespaced(self.client.clone(), &self.namespace) }
    }

    /// One integration.
    pub(crate) async fn integration(&self, name: &str) -> Result<ProjectIntegration, Failure> {
        self.integrations().get(name).await.map_err(|error| Failure::api("get", self.called(name), error))
    }

    /// An integration as it is spoken of.
    pub(crate) fn called(&self, name: &str) -> String {
        format!("integration {name} in namespace {}", self.namespace)
    }
}
