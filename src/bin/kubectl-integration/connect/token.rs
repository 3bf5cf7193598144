//! The token for the operator's HTTP API: given, asked of the cluster, or the kubeconfig's own.

use integration_operator::sensitive::Sensitive;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use secrecy::ExposeSecret as _;

use crate::args::OverHttp;
use crate::cluster::Cluster;
use crate::failure::Failure;

/// Finds a token, the most explicit first.
pub(crate) async fn find(cluster: &Cluster, args: &OverHttp) -> Result<Sensitive, Failure> {
    if let Some(token) = &args.token {
        return Ok(token.clone());
    }
    if let Some(account) = &args.service_account {
        return request(cluster, account, &args.audience).await;
    }
    if let Some(token) = &cluster.auth.token {
        return Ok(Sensitive::new(token.expose_secret()));
    }
    if let Some(file) = &cluster.auth.token_file {
        let failed = |source| Failure::Local { what: "read the kubeconfig's tokenFile", source };
        return tokio::fs::read_to_string(file).await.map(|token| Sensitive::new(token.trim())).map_err(failed);
    }
    Err(Failure::refused(
        "the kubeconfig has no bearer token to show to the operator; pass --service-account, or --token",
    ))
}

/// Asks the cluster for a token of a service account of the namespace.
async fn request(cluster: &Cluster, account: &str, audience: &str) -> Result<Sensitive, Failure> {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let spec = TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let what = format!("a token of service account {account} in namespace {}", cluster.namespace);
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| Failure::api("create", what, error))?;
    answer
        .status
        .map(|status| Sensitive::new(status.token))
        .ok_or_else(|| Failure::refused(format!("the cluster gave no token of service account {account}")))
}
