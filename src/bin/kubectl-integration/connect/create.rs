//! `connect --create`: the integration is made when it is missing, for the tenant to which the namespace belongs.

use integration_operator::api::{ProjectIntegration, ProjectIntegrationSpec, TENANT_LABEL};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use super::target::project_and_type;
use crate::args::Connect;
use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::failure::Failure;

/// Makes the integration unless it is there.
pub(crate) async fn ensure(cluster: &Cluster, args: &Connect) -> Result<(), Failure> {
    match cluster.integration(&args.name).await {
        Err(Failure::NotFound { .. }) => {}
        found => return found.map(drop),
    }
    let (project, type_) = project_and_type(&args.name)?;
    let spec = ProjectIntegrationSpec {
        tenant_id: tenant(cluster).await?,
        project_id: project.to_owned(),
        type_: type_.to_owned(),
        provider_kind: args.provider_kind.into(),
        parameters: args.parameters.iter().cloned().collect(),
        ..ProjectIntegrationSpec::default()
    };
    let integration = ProjectIntegration::new(&args.name, spec);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match cluster.integrations().create(&params, &integration).await {
        Ok(_) => println!("created {}", cluster.called(&args.name)),
        // Somebody else made it in between; that is what was wanted.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(Failure::api("create", cluster.called(&args.name), error)),
    }
    Ok(())
}

/// The tenant of the namespace.
async fn tenant(cluster: &Cluster) -> Result<String, Failure> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = &cluster.namespace;
    let found = namespaces
        .get(namespace)
        .await
        .map_err(|error| Failure::api("get", format!("namespace {namespace}"), error))?;
    found.labels().get(TENANT_LABEL).cloned().ok_or_else(|| {
        Failure::refused(format!(
            "namespace {namespace} belongs to no tenant; a cluster administrator says which:\n  \
             kubectl label namespace {namespace} {TENANT_LABEL}=<tenant>"
        ))
    })
}
